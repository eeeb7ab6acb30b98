//! What no site gives away: weappd's own configuration, keys, secrets and data.
//!
//! A file is known by what it is (device and inode) and by where it really stands, never by
//! the name that a request leads to it with: links, another spelling, a mount of a parent
//! directory lead to the same file. It is asked anew at each look at the disk, for files are
//! replaced while weappd runs. What editors, people and `weappd init --force` leave beside a
//! protected file goes by its name.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The configuration's usual name: what begins or ends with it is hidden in any directory.
const CONFIG_NAME: &str = "weappd.toml";
/// How many entries of a protected directory are compared with a file of several names.
const MAX_ENTRIES: usize = 20_000;
/// How deep they stand.
const MAX_DEPTH: usize = 8;

/// Files and directories that are never served. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ProtectedFiles(Arc<ProtectedPaths>);

#[derive(Debug, Default)]
struct ProtectedPaths {
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    /// Subdirectories of `dirs` that hold what is public by itself, such as uploads: a
    /// second name of a file in there shows no secret.
    open: Vec<PathBuf>,
}

/// What a file is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(facts: &Metadata) -> Self {
        Self(facts.dev(), facts.ino())
    }

    fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|facts| Self::of(&facts))
    }
}

impl ProtectedFiles {
    /// Protects `files`, and everything under `dirs`. In the directories `open` among the
    /// latter stands what weappd gives out itself.
    pub fn new(
        files: impl IntoIterator<Item = PathBuf>,
        dirs: impl IntoIterator<Item = PathBuf>,
        open: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self(Arc::new(ProtectedPaths {
            files: files.into_iter().map(whole).collect(),
            dirs: dirs.into_iter().map(whole).collect(),
            open: open.into_iter().map(whole).collect(),
        }))
    }

    /// The protected directory that `dir` is, or lies in.
    pub fn holder_of(&self, dir: &Path) -> Option<&Path> {
        let dir = dir.canonicalize().ok()?;
        let mut dirs = self.0.dirs.iter();
        dirs.find(|holder| FileId::at(holder).is_some_and(|id| is_under(&dir, id)))
            .map(PathBuf::as_path)
    }

    /// What of it is there and lies under `dir`.
    pub fn found_under(&self, dir: &Path) -> Vec<&Path> {
        let Some(id) = FileId::at(dir) else {
            return Vec::new();
        };
        let all = self.0.files.iter().chain(&self.0.dirs);
        let mut found: Vec<&Path> = all
            .filter(|path| path.canonicalize().is_ok_and(|path| is_under(&path, id)))
            .map(PathBuf::as_path)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether the open `file`, which really stands at `real`, is to stay unseen.
    pub(crate) fn covers(&self, facts: &Metadata, real: &Path) -> bool {
        let id = FileId::of(facts);
        let is_own = |path: &PathBuf| FileId::at(path) == Some(id);
        self.0.files.iter().any(is_own)
            || self.is_leftover(real)
            || self.0.dirs.iter().any(|dir| {
                FileId::at(dir).is_some_and(|dir| dir == id || is_under(real, dir))
                    || (facts.is_file() && facts.nlink() > 1 && self.has_name_in(id, dir))
            })
    }

    /// Whether a file is called like a protected one that stands, or stood, beside it.
    fn is_leftover(&self, real: &Path) -> bool {
        let Some((dir, name)) = split(real) else {
            return false;
        };
        if resembles(&name, CONFIG_NAME) {
            return true;
        }
        self.0.files.iter().any(|path| {
            let beside = |path: &Path| {
                split(path).is_some_and(|(own_dir, own)| {
                    resembles(&name, &own) && FileId::at(dir) == FileId::at(own_dir)
                })
            };
            beside(path)
                || (path.is_symlink() && path.canonicalize().is_ok_and(|path| beside(&path)))
        })
    }

    /// Whether a file of several names has one of them under `dir`. Where there is too much
    /// to look at, it has.
    fn has_name_in(&self, id: FileId, dir: &Path) -> bool {
        let mut left = MAX_ENTRIES;
        self.search(id, dir, MAX_DEPTH, &mut left)
    }

    fn search(&self, id: FileId, dir: &Path, depth: usize, left: &mut usize) -> bool {
        if self.0.open.iter().any(|open| open == dir) {
            return false;
        }
        let Ok(entries) = std::fs::read_dir(dir) else {
            return false;
        };
        for entry in entries.flatten() {
            let Some(rest) = left.checked_sub(1) else {
                return true;
            };
            *left = rest;
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            if FileId::of(&facts) == id {
                return true;
            }
            if facts.is_dir() && (depth == 0 || self.search(id, &entry.path(), depth - 1, left)) {
                return true;
            }
        }
        false
    }
}

/// Whether `path`, which has no links in it, is the directory `id` or lies under it.
fn is_under(path: &Path, id: FileId) -> bool {
    path.ancestors().any(|dir| FileId::at(dir) == Some(id))
}

/// The directory and the name, in lower case.
fn split(path: &Path) -> Option<(&Path, String)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    Some((path.parent()?, name))
}

/// Whether `name` is `own`, or what is left of it under another name: `own.old`, `own~`,
/// `#own#`, `Copy of own`, `stem-old.ext`, `stem (1).ext`.
fn resembles(name: &str, own: &str) -> bool {
    let bare = |text: &str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    if name == own || bare(name) == bare(own) {
        return true;
    }
    let parts = |rest: Option<&str>| {
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric) && !rest.is_empty())
    };
    let Some((stem, extension)) = own.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) else {
        // A name without an extension says little: `secret` is not `secret-santa.html`.
        return name.strip_prefix(own).is_some_and(is_backup_suffix);
    };
    let before = name.strip_suffix(own);
    if parts(name.strip_prefix(own))
        || before.is_some_and(|before| !before.ends_with(char::is_alphanumeric))
    {
        return true;
    }
    let inner = name
        .strip_suffix(extension)
        .and_then(|n| n.strip_suffix('.'));
    parts(inner.and_then(|inner| inner.strip_prefix(stem)))
}

/// What a backup's name ends with.
fn is_backup_suffix(rest: &str) -> bool {
    const WORDS: [&str; 12] = [
        "old", "bak", "backup", "orig", "save", "swp", "swo", "tmp", "new", "rej", "copy", "1",
    ];
    let word = rest.trim_start_matches(['.', '-', '_', ' ']);
    rest == "~" || (word.len() < rest.len() && WORDS.contains(&word))
}

/// Where an open file really stands: its own name, without links. `fallback` is the name it
/// was opened by, where the system does not tell.
pub(crate) fn real_path(file: &File, fallback: &Path) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    let told = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match told {
        Ok(path) => {
            // So Linux calls a file that was replaced meanwhile.
            let text = path.to_string_lossy();
            match text.strip_suffix(" (deleted)") {
                Some(before) if !path.exists() => PathBuf::from(before),
                _ => path,
            }
        }
        Err(_) => fallback
            .canonicalize()
            .unwrap_or_else(|_| fallback.to_owned()),
    }
}

/// Whether a file under `root` that really stands at `real` is hidden by a dot on its way.
/// Names that begin with two dots are how Kubernetes swaps the files of a volume.
pub(crate) fn is_hidden(root: &Path, real: &Path) -> bool {
    let Ok(inside) = real.strip_prefix(root) else {
        return false;
    };
    inside.iter().enumerate().any(|(at, part)| {
        let part = part.as_encoded_bytes();
        part.starts_with(b".") && !part.starts_with(b"..") && !(at == 0 && part == b".well-known")
    })
}

/// Whether a text is a private key in PEM, alone or behind its certificate.
pub(crate) fn is_private_key(content: &[u8]) -> bool {
    let content = content
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(content)
        .trim_ascii_start();
    content.starts_with(b"-----BEGIN ")
        && memchr::memmem::find(content, b"PRIVATE KEY-----").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_by_their_names() {
        for name in [
            "weappd.toml",
            "weappd.toml.old",
            "weappd.toml~",
            "weappd.toml.bak",
            "weappd.toml.0123456789abcdef",
            "weappd.toml.2026-11-30",
            "weappd.toml_",
            "#weappd.toml#",
            "copy of weappd.toml",
            "weappd.old.toml",
            "weappd (1).toml",
            "weappd-prod.toml",
            "weappd.toml.txt",
        ] {
            assert!(resembles(name, "weappd.toml"), "{name}");
        }
        for name in [
            "weappd.tomls",
            "weappdx.toml",
            "myweappd.toml",
            "toml",
            "weappd.html",
        ] {
            assert!(!resembles(name, "weappd.toml"), "{name}");
        }
        for name in ["secret", "secret.old", "secret~", "secret.bak", "secret.1"] {
            assert!(resembles(name, "secret"), "{name}");
        }
        for name in ["secret.html", "secret-santa.html", "secrets", "secret.js"] {
            assert!(!resembles(name, "secret"), "{name}");
        }
        assert!(resembles("weappd.db-wal", "weappd.db"));
    }

    #[test]
    fn a_private_key_is_known_by_its_first_line() {
        let cert = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nA\n-----END EC PRIVATE KEY-----\n";
        for text in [
            key.to_owned(),
            format!("{cert}{key}"),
            format!("\u{feff}\r\n{key}"),
        ] {
            assert!(is_private_key(text.as_bytes()), "{text}");
        }
        let script = format!("const pem = `{key}`");
        for text in [cert, &script, ""] {
            assert!(!is_private_key(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_lies_under_a_directory_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("data/www")).expect("made");
        std::fs::write(at("weappd.toml"), "x").expect("written");
        let protected = ProtectedFiles::new(
            [at("weappd.toml"), at("gone.key")],
            [at("data")],
            Vec::new(),
        );
        assert_eq!(
            protected.found_under(dir.path()),
            [at("data").as_path(), at("weappd.toml").as_path()]
        );
        assert_eq!(protected.found_under(&at("data/www")), Vec::<&Path>::new());
        for (root, holder) in [("data", true), ("data/www", true), ("", false)] {
            assert_eq!(protected.holder_of(&at(root)).is_some(), holder, "{root}");
        }
    }
}
