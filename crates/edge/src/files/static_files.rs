//! Files of a directory: what is under it and nothing else.
//!
//! The whole request path is looked up under the root. A folder is answered with its
//! `index.html`. Names that begin with a dot are not there, but for `/.well-known`; nor is
//! what weappd itself reads and keeps (`protected`), nor a private key.
//!
//! # Invariants
//!
//! - No path and no symbolic link leads out of the root: on Linux the kernel sees to it
//!   (`openat2` with `RESOLVE_BENEATH`), elsewhere the resolved path is compared.
//! - Disk is never waited for on an edge thread.
//! - What is remembered of small files is looked at again after [`CACHE_TTL`].

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use parking_lot::RwLock;
use weappd_content::{ContentChoice, ContentMeta};

use crate::body::EdgeBody;
use crate::files::file_body::FileBody;
use crate::files::protected::{self, ProtectedFiles};
use crate::refusal::EdgeRefusal;
use crate::route::redirect;

/// How long a file's state is believed.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// Files up to this size are kept in memory.
const SMALL_FILE_MAX_BYTES: u64 = 256 * 1024;
/// How much is kept in memory for each root.
const CACHE_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A directory open for the public.
#[derive(Debug)]
pub(crate) struct StaticRoot(Arc<RootDir>);

#[derive(Debug)]
struct RootDir {
    path: PathBuf,
    dir: OwnedFd,
    protected: ProtectedFiles,
    cache: RwLock<FileCache>,
}

#[derive(Debug, Default)]
struct FileCache {
    entries: HashMap<String, Arc<CachedFile>>,
    bytes: usize,
}

/// A file as last seen.
#[derive(Debug)]
pub(crate) struct CachedFile {
    meta: ContentMeta,
    kind: HeaderValue,
    content: CachedContent,
    seen: Instant,
}

#[derive(Debug)]
enum CachedContent {
    Small(Bytes),
    Large(Arc<File>),
}

enum FileLookup {
    File(Arc<CachedFile>),
    Folder,
    Nothing,
}

impl StaticRoot {
    /// Opens the directory, but for what is `protected`.
    pub(crate) fn open(path: &Path, protected: ProtectedFiles) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let dir = File::open(&path)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(Arc::new(RootDir {
            path,
            dir: dir.into(),
            protected,
            cache: RwLock::default(),
        })))
    }

    /// Answers GET and HEAD.
    pub(crate) async fn answer(&self, head: &Parts) -> Result<Response<EdgeBody>, EdgeRefusal> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(EdgeRefusal::MethodNotAllowed);
        }
        let path = head.uri.path();
        let mut name = file_name(path).ok_or(EdgeRefusal::NotFound)?;
        if path.ends_with('/') {
            name.push_str("index.html");
        }
        match self.look_up(name).await? {
            FileLookup::File(entry) => Ok(serve(head, &entry)),
            FileLookup::Nothing => Err(EdgeRefusal::NotFound),
            FileLookup::Folder if path.ends_with('/') => Err(EdgeRefusal::NotFound),
            FileLookup::Folder => {
                let query = head.uri.query().map_or(String::new(), |q| format!("?{q}"));
                redirect::to(&format!("{path}/{query}"), StatusCode::MOVED_PERMANENTLY)
            }
        }
    }

    async fn look_up(&self, name: String) -> Result<FileLookup, EdgeRefusal> {
        if let Some(entry) = self.0.cache.read().entries.get(&name)
            && entry.seen.elapsed() < CACHE_TTL
        {
            return Ok(FileLookup::File(Arc::clone(entry)));
        }
        let inner = Arc::clone(&self.0);
        let looking = tokio::task::spawn_blocking(move || inner.read_from_disk(name));
        match looking.await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) if is_absence(&error) => Ok(FileLookup::Nothing),
            Ok(Err(error)) => {
                tracing::error!(%error, root = %self.0.path.display(), "a file cannot be read");
                Err(EdgeRefusal::Internal)
            }
            Err(_) => Err(EdgeRefusal::Internal),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    // XDEV is the kernel's word for a way out of the root.
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::CrossesDevices
    ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// The path under the root that a request path names, if it may name one.
pub(crate) fn file_name(path: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()?;
    let relative = decoded.strip_prefix('/')?;
    for (index, segment) in relative.split('/').enumerate() {
        let hidden = segment.starts_with('.') && !(index == 0 && segment == ".well-known");
        if hidden || segment.bytes().any(|b| b < b' ' || b == b'\\' || b == 0x7F) {
            return None;
        }
    }
    // An encoded slash is not a folder; after decoding it would be one.
    (decoded.matches('/').count() == path.matches('/').count()).then(|| relative.to_owned())
}

impl RootDir {
    /// Looks at the disk.
    fn read_from_disk(&self, name: String) -> io::Result<FileLookup> {
        let file = self.open(if name.is_empty() { "." } else { &name })?;
        let state = file.metadata()?;
        let real = protected::real_path(&file, &self.path.join(&name));
        if protected::is_hidden(&self.path, &real) || self.protected.covers(&state, &real) {
            return Ok(FileLookup::Nothing);
        }
        if state.is_dir() {
            return Ok(FileLookup::Folder);
        }
        if !state.is_file() {
            return Ok(FileLookup::Nothing);
        }
        let entry = Arc::new(CachedFile::read(&name, file, &state)?);
        if matches!(&entry.content, CachedContent::Small(bytes) if protected::is_private_key(bytes))
        {
            return Ok(FileLookup::Nothing);
        }
        self.cache(name, &entry);
        Ok(FileLookup::File(entry))
    }

    fn cache(&self, name: String, entry: &Arc<CachedFile>) {
        let mut cache = self.cache.write();
        if let Some(old) = cache.entries.remove(&name) {
            cache.bytes = cache.bytes.saturating_sub(old.cost_bytes());
        }
        // Open files are not kept: a deploy may replace them at any time.
        if let CachedContent::Large(_) = entry.content {
            return;
        }
        if cache.bytes + entry.cost_bytes() > CACHE_MAX_BYTES {
            *cache = FileCache::default();
        }
        cache.bytes += entry.cost_bytes();
        drop(cache.entries.insert(name, Arc::clone(entry)));
    }

    #[cfg(target_os = "linux")]
    fn open(&self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let opened = openat2(
            &self.dir,
            name,
            // A named pipe must not hold the opener up.
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        );
        match opened {
            Ok(file) => Ok(file.into()),
            Err(rustix::io::Errno::NOSYS) => self.open_checked(name),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open(&self, name: &str) -> io::Result<File> {
        self.open_checked(name)
    }

    fn open_checked(&self, name: &str) -> io::Result<File> {
        let real = self.path.join(name).canonicalize()?;
        if !real.starts_with(&self.path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        File::open(real)
    }
}

impl CachedFile {
    fn read(name: &str, file: File, state: &Metadata) -> io::Result<Self> {
        let meta = ContentMeta::of_file(state)?;
        let len = meta.len;
        let content = if len <= SMALL_FILE_MAX_BYTES {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            file.read_exact_at(&mut bytes, 0)?;
            CachedContent::Small(bytes.into())
        } else {
            CachedContent::Large(Arc::new(file))
        };
        Ok(Self {
            meta,
            kind: content_type(Path::new(name)),
            content,
            seen: Instant::now(),
        })
    }

    /// Bytes that remembering this entry costs, roughly.
    fn cost_bytes(&self) -> usize {
        match &self.content {
            CachedContent::Small(bytes) => bytes.len() + 512,
            CachedContent::Large(_) => 0,
        }
    }

    fn body(&self, from: u64, len: u64) -> EdgeBody {
        match &self.content {
            CachedContent::Small(bytes) => {
                let at = usize::try_from(from).unwrap_or_default();
                let end = at.saturating_add(usize::try_from(len).unwrap_or_default());
                EdgeBody::full(bytes.slice(at.min(bytes.len())..end.min(bytes.len())))
            }
            CachedContent::Large(file) => {
                EdgeBody::file(FileBody::new(Arc::clone(file), from, len))
            }
        }
    }
}

fn content_type(name: &Path) -> HeaderValue {
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let text =
        kind.type_() == "text" || matches!(kind.subtype().as_str(), "javascript" | "json" | "xml");
    let kind = if text {
        format!("{}; charset=utf-8", kind.essence_str())
    } else {
        kind.essence_str().to_owned()
    };
    HeaderValue::try_from(kind)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// The answer with a file, a part of it, or the news that nothing changed.
fn serve(head: &Parts, entry: &CachedFile) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::default());
    let choice = ContentChoice::of(&head.method, &head.headers, &entry.meta);
    *response.status_mut() = choice.status();
    choice.write_headers(&entry.meta, response.headers_mut());
    if let Some((from, len)) = choice.bytes(entry.meta.len) {
        *response.body_mut() = entry.body(from, len);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, entry.kind.clone());
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_files() {
        for (path, name) in [
            ("/", ""),
            ("/a/b.txt", "a/b.txt"),
            ("/MP_verify_abc.txt", "MP_verify_abc.txt"),
            ("/.well-known/x", ".well-known/x"),
            ("/%E4%B8%AD.txt", "中.txt"),
        ] {
            assert_eq!(file_name(path).as_deref(), Some(name), "{path}");
        }
        for path in [
            "/.git/config",
            "/a/.env",
            "/a/.well-known/x",
            "/a%2Fb",
            "/a%5Cb",
            "/a%0Ab",
            "/%FF",
            "/..",
            "/a/../b",
        ] {
            assert_eq!(file_name(path), None, "{path}");
        }
    }

    #[test]
    fn a_link_out_of_the_root_is_not_there() {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        let inside = tempfile::tempdir().expect("a folder");
        std::fs::write(inside.path().join("a.txt"), "a").expect("written");
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).expect("a link");
        std::os::unix::fs::symlink("a.txt", inside.path().join("in.txt")).expect("a link");
        let root = StaticRoot::open(inside.path(), ProtectedFiles::default()).expect("opened");
        assert!(matches!(
            root.0.read_from_disk("in.txt".to_owned()),
            Ok(FileLookup::File(_))
        ));
        let way_out = root
            .0
            .read_from_disk("out/secret".to_owned())
            .err()
            .expect("refused");
        assert!(is_absence(&way_out), "{way_out:?}");
        assert!(root.0.open_checked("out/secret").is_err());
        assert!(root.0.open_checked("in.txt").is_ok());
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(
            content_type(Path::new("MP_verify_x.txt")),
            "text/plain; charset=utf-8"
        );
        assert_eq!(content_type(Path::new("a.png")), "image/png");
        assert_eq!(content_type(Path::new("noext")), "application/octet-stream");
    }
}
