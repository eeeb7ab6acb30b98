//! What must hold for any input to this room's parsers: the bodies of the fuzz target,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
mod feed;

use std::convert::Infallible;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Runtime;
use weappd_base::random::RandomSource;
use weappd_base::tasks::Work;

use crate::config::Config;
use crate::error::Error;
use crate::file_name::FileName;
use crate::files::{Files, FilesParts};
use crate::upload::{StoredUpload, UploadRules, receive};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("files_form", files)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// The largest file of these tests.
const MAX_FILE_BYTES: u64 = 600;

/// A room on a directory in memory, made once a thread.
struct FuzzFiles {
    runtime: Runtime,
    files: Files,
    incoming: PathBuf,
}

impl FuzzFiles {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
        let place = format!("/dev/shm/weappd-fuzz-files-{}-{thread}", std::process::id());
        let data_dir = PathBuf::from(place);
        let work = Work::new(runtime.handle().clone());
        let files = Files::open(FilesParts {
            config: Config {
                max_upload_bytes: MAX_FILE_BYTES,
                ..Config::default()
            },
            data_dir: data_dir.clone(),
            random: RandomSource::system(),
            work,
        });
        Self {
            runtime,
            files: files.expect("a store"),
            incoming: data_dir.join("files/.incoming"),
        }
    }

    /// Gives a body in pieces; what was stored is read back and removed.
    fn upload(
        &self,
        boundary: &str,
        body: &[u8],
        cuts: &[u8],
    ) -> Result<(StoredUpload, Vec<u8>), Error> {
        let mut pieces = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let cut = cuts.get(pieces.len() % cuts.len().max(1));
            let cut = cut.map_or(rest.len(), |cut| usize::from(*cut) + 1);
            let (now, later) = rest.split_at(cut.min(rest.len()));
            pieces.push(Ok::<_, Infallible>(Bytes::copy_from_slice(now)));
            rest = later;
        }
        let uploaded = self.runtime.block_on(async {
            let terms = UploadRules::of_files(&self.files);
            let body = stream::iter(pieces);
            let stored = receive(&self.files, terms, boundary.to_owned(), body).await?;
            let mut bytes = Vec::new();
            let mut file = self.files.find(stored.name.clone()).await?;
            file.read_to_end(&mut bytes).expect("it reads");
            assert!(self.files.remove(stored.name.clone()).await?);
            Ok((stored, bytes))
        });
        self.is_swept();
        uploaded
    }

    /// Nothing stays of an upload that failed; the last of it goes on another thread.
    fn is_swept(&self) {
        for _ in 0..2000 {
            let left = std::fs::read_dir(&self.incoming)
                .expect("it is there")
                .count();
            if left == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("an unfinished upload stayed");
    }
}

impl Drop for FuzzFiles {
    fn drop(&mut self) {
        let dir = self.incoming.ancestors().nth(2);
        drop(dir.map(std::fs::remove_dir_all));
    }
}

thread_local! {
    static FILES: FuzzFiles = FuzzFiles::new();
}

fn files(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(4) {
        0 => FILES.with(|room| raw(room, &mut feed)),
        1 | 2 => FILES.with(|room| form(room, &mut feed)),
        _ => texts(&mut feed),
    }
}

/// Any body under any boundary.
fn raw(room: &FuzzFiles, feed: &mut Feed<'_>) {
    let (boundary, cuts) = (feed.text(), feed.field());
    // As the door takes it from the header, and as the header allows it.
    let header = format!("multipart/form-data; boundary={boundary}");
    let Ok(boundary) = multer::parse_boundary(header) else {
        return;
    };
    let body = feed.rest();
    if let Ok((stored, bytes)) = room.upload(&boundary, body, cuts) {
        assert!(stored.size <= MAX_FILE_BYTES && bytes.len() as u64 == stored.size);
        assert!(bytes.is_empty() || body.windows(bytes.len()).any(|part| part == bytes));
    }
}

/// A form of some parts: the one file in it is kept as it was, whatever it is called.
fn form(room: &FuzzFiles, feed: &mut Feed<'_>) {
    const BOUNDARY: &str = "----WeChatBoundary7";
    let cuts = feed.field();
    let mut body = Vec::new();
    let mut given = Vec::new();
    while !feed.is_empty() && body.len() < 4096 {
        let (kind, head) = (feed.below(4), feed.below(6));
        let (name, content) = (feed.field(), feed.field());
        let name = String::from_utf8_lossy(name).replace(['"', '\r', '\n', '\\'], "");
        let magic: &[u8] = [
            &b"\x89PNG\r\n\x1A\n"[..],
            b"GIF89a",
            b"%PDF-1.7\n",
            b"\xFF\xD8\xFF\xE0",
            b"",
            b"<svg",
        ][head];
        let content = [magic, content].concat();
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"").as_bytes(),
        );
        match kind {
            0 => {}
            _ => body.extend_from_slice(format!("; filename=\"{name}\"").as_bytes()),
        }
        body.extend_from_slice(b"\r\n");
        if kind == 2 {
            body.extend_from_slice(b"Content-Type: text/html\r\n");
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n");
        let is_nothing = content.is_empty() && name.is_empty();
        if kind != 0 && !is_nothing {
            given.push(content);
        }
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let broken = body
        .windows(BOUNDARY.len())
        .filter(|part| *part == BOUNDARY.as_bytes())
        .count();
    match room.upload(BOUNDARY, &body, cuts) {
        Ok((stored, bytes)) => {
            assert_eq!(bytes.len() as u64, stored.size);
            assert!(stored.size <= MAX_FILE_BYTES && stored.mime != "image/svg+xml");
            if let [only] = given.as_slice() {
                assert!(bytes == *only || broken > 64, "{:?}", stored.name);
            }
            assert!(FileName::parse(stored.name.as_str()).is_some());
        }
        Err(Error::TypeRefused { .. } | Error::TooLarge { .. }) => assert!(!given.is_empty()),
        Err(Error::NoFile) => assert!(given.is_empty()),
        Err(Error::SecondFile) => assert!(given.len() > 1),
        // Too many parts, or contents that are boundaries.
        Err(_) => {}
    }
}

/// Names.
fn texts(feed: &mut Feed<'_>) {
    let name = feed.text();
    if let Some(read) = FileName::parse(&name) {
        assert_eq!(read.as_str(), name);
        let plain = name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte)
        });
        assert!(
            plain && !name.starts_with('.') && !name.contains(".."),
            "{name}"
        );
        assert!(
            read.shard().len() == 2
                && name.starts_with(read.shard())
                && name.ends_with(read.extension())
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
