//! What a file is, judged by its first bytes and never by its name.

/// How many first bytes are looked at before a file is accepted.
pub(crate) const SNIFF_BYTES: usize = 4096;

/// A type of file: its content type and the extension it is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileType {
    /// The content type, as downloads declare it.
    pub(crate) mime: &'static str,
    /// The extension, without a dot.
    pub(crate) extension: &'static str,
}

/// The kinds whose extension and type this room knows by heart.
const COMMON_TYPES: [FileType; 11] = [
    kind("image/jpeg", "jpg"),
    kind("image/png", "png"),
    kind("image/gif", "gif"),
    kind("image/webp", "webp"),
    kind("image/bmp", "bmp"),
    kind("image/jp2", "jp2"),
    kind("image/jpx", "jpx"),
    kind("image/jpm", "jpm"),
    kind("audio/mpeg", "mp3"),
    kind("audio/m4a", "m4a"),
    kind("application/pdf", "pdf"),
];

const fn kind(mime: &'static str, extension: &'static str) -> FileType {
    FileType { mime, extension }
}

impl FileType {
    /// Recognises a file by its first bytes.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let found = infer::get(head)?;
        let mime = match (found.mime_type(), head.get(20..24)) {
            // The three JPEG 2000 containers differ in the brand of their second box.
            ("image/jp2", Some(b"jpx ")) => "image/jpx",
            ("image/jp2", Some(b"jpm ")) => "image/jpm",
            (mime, _) => mime,
        };
        let common = COMMON_TYPES.into_iter().find(|kind| kind.mime == mime);
        Some(common.unwrap_or_else(|| kind(mime, found.extension())))
    }
}

/// The content type a kept file is served with, by the extension this room gave it.
pub(crate) fn mime_of(extension: &str) -> &'static str {
    COMMON_TYPES
        .into_iter()
        .find(|kind| kind.extension == extension)
        .map(|kind| kind.mime)
        .or_else(|| mime_guess::from_ext(extension).first_raw())
        .unwrap_or("application/octet-stream")
}

/// Whether a browser may show this type in place: pictures, sound and film that cannot
/// carry a script. Everything else is offered for saving.
pub(crate) fn may_show_inline(mime: &str) -> bool {
    mime != "image/svg+xml"
        && ["image/", "audio/", "video/"]
            .iter()
            .any(|family| mime.starts_with(family))
}

/// One name for types that go by several.
pub(crate) fn canonical(mime: &str) -> String {
    let mime = mime.trim().to_ascii_lowercase();
    match mime.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "image/x-bmp" | "image/x-ms-bmp" => "image/bmp".to_owned(),
        "image/x-png" => "image/png".to_owned(),
        "audio/mp3" | "audio/x-mp3" | "audio/mpeg3" => "audio/mpeg".to_owned(),
        "audio/mp4" | "audio/x-m4a" => "audio/m4a".to_owned(),
        _ => mime,
    }
}

/// Whether files of this type can be recognised by their first bytes.
pub(crate) fn is_known(mime: &str) -> bool {
    let mime = canonical(mime);
    COMMON_TYPES.iter().any(|kind| kind.mime == mime) || infer::is_mime_supported(&mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        for (head, mime, extension) in [
            (&b"\xFF\xD8\xFF\xE0\0\x10JFIF"[..], "image/jpeg", "jpg"),
            (b"\x89PNG\r\n\x1A\n", "image/png", "png"),
            (b"GIF89a", "image/gif", "gif"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "webp"),
            (b"BM\0\0\0\0", "image/bmp", "bmp"),
            (b"ID3\x04\0", "audio/mpeg", "mp3"),
            (b"\0\0\0\x20ftypM4A \0\0", "audio/m4a", "m4a"),
            (b"%PDF-1.7\n", "application/pdf", "pdf"),
        ] {
            assert_eq!(FileType::of(head), Some(FileType { mime, extension }));
            assert_eq!(mime_of(extension), mime);
        }
        assert_eq!(FileType::of(b"just words"), None);
        assert_eq!(FileType::of(b""), None);
    }

    #[test]
    fn the_jpeg_2000_family_is_told_apart() {
        let mut head = b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftyp".to_vec();
        for (brand, mime) in [
            (b"jp2 ", "image/jp2"),
            (b"jpx ", "image/jpx"),
            (b"jpm ", "image/jpm"),
        ] {
            head.truncate(20);
            head.extend_from_slice(brand);
            assert_eq!(FileType::of(&head).map(|kind| kind.mime), Some(mime));
        }
    }

    #[test]
    fn what_can_carry_a_script_is_never_shown_in_place() {
        assert!(may_show_inline("image/png"));
        for mime in [
            "image/svg+xml",
            "text/html",
            "text/xml",
            "application/pdf",
            "application/octet-stream",
        ] {
            assert!(!may_show_inline(mime), "{mime}");
        }
    }

    #[test]
    fn aliases_have_one_name() {
        assert_eq!(canonical("Audio/MP3"), "audio/mpeg");
        assert!(is_known("image/jpg"));
        assert!(!is_known("image/jpgg"));
    }
}
