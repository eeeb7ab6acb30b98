//! Addresses of users' pictures.

/// The longest picture address, in bytes.
const MAX_AVATAR: usize = 1024;

/// An address that other users' phones may load: nothing that runs. A browser takes a
/// backslash for a slash, and two of those at the start for another host.
pub(crate) fn is_picture(url: &str) -> bool {
    let place = url.starts_with("https://")
        || url.starts_with("http://")
        || url.starts_with('/') && !url.starts_with("//");
    place && url.len() <= MAX_AVATAR && url.bytes().all(|c| c.is_ascii_graphic() && c != b'\\')
}
