//! Files that a setting names: certificates, keys, secrets, weappd.toml itself.
//!
//! What a path leads to is not always a file with an end: a device may never stop, and a pipe
//! waits for a writer. Only regular files are read, and only up to a size.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The largest certificate, key or weappd.toml.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The bytes of the regular file `path`, which has at most `max` of them.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    // One more tells that there are too many, also where a file does not know its size.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= max) {
        return Ok(bytes);
    }
    let told = match max {
        MAX_BYTES => "it is larger than 1 MiB".to_owned(),
        max if max % 1024 == 0 => format!("it is larger than {} KiB", max / 1024),
        max => format!("it is larger than {max} bytes"),
    };
    Err(io::Error::new(io::ErrorKind::FileTooLarge, told))
}

/// The text of such a file.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

fn open(path: &Path) -> io::Result<File> {
    // Some devices do things when they are opened.
    want_regular(&std::fs::metadata(path)?)?;
    // Another may stand there by now: a pipe is not waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    want_regular(&file.metadata()?)?;
    Ok(file)
}

fn want_regular(facts: &std::fs::Metadata) -> io::Result<()> {
    let kind = facts.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    let told = format!("it is {what}, not a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_up_to_a_size_are_read() {
        let base = std::env::temp_dir().join(format!("weappd-small-{}", std::process::id()));
        fs::create_dir_all(&base).expect("a directory");
        let at = |name: &str| base.join(name);
        fs::write(at("text"), "0123456789").expect("a file");
        std::os::unix::fs::symlink(at("text"), at("link")).expect("a link");
        for name in ["text", "link"] {
            assert_eq!(read_text(&at(name), 10).expect("it fits"), "0123456789");
        }
        fs::write(at("bytes"), b"\xFF").expect("a file");
        assert_eq!(read(&at("bytes"), 1).expect("it fits"), b"\xFF");
        let large = File::create(at("large")).expect("a file");
        large.set_len(1 << 40).expect("a hole");
        let _socket = UnixListener::bind(at("socket")).expect("a socket");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .expect("a pipe");
        for (path, max, words) in [
            (at("text"), 9, "larger than 9 bytes"),
            (at("large"), MAX_BYTES, "larger than 1 MiB"),
            (at("large"), 64 * 1024, "larger than 64 KiB"),
            // It says that it has no bytes.
            ("/proc/self/maps".into(), 10, "larger than 10 bytes"),
            ("/dev/zero".into(), 10, "a device, not a regular file"),
            ("/dev/null".into(), 10, "a device"),
            (at("pipe"), 10, "a pipe, not a regular file"),
            (at("socket"), 10, "a socket"),
            (base.clone(), 10, "a directory"),
            (at("none"), 10, "No such file"),
        ] {
            let said = read(&path, max).expect_err(words).to_string();
            assert!(said.contains(words), "{said}");
        }
        let said = read_text(&at("bytes"), 1).expect_err("no text");
        assert_eq!(said.kind(), io::ErrorKind::InvalidData);
        fs::remove_dir_all(&base).expect("deleted");
    }
}
