//! The data directory: made on first use, private to its owner, one weappd at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weappd_base::language::pick;
use weappd_base::words;

use rustix::fs::FlockOperation;

use crate::exit::ExitFailure;

/// The data directory, held by this process until dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, ExitFailure> {
        let failed = |error: io::Error| {
            ExitFailure::new(
                &DirUnusable(path.to_owned(), error),
                pick(
                    "weappd keeps its database, certificates and logs there: make the directory \
                 writable for this user, or set `data_dir` (for `weappd dev`: --data-dir) to another one",
                    "weappd 把数据库、证书和日志放在那里：请给当前用户这个目录的写权限，或把 `data_dir`（`weappd dev` 用 --data-dir）设为其他目录",
                ),
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(ExitFailure::say(
                words!(
                    "another weappd is running on {}",
                    "另一个 weappd 正在使用 {}",
                    path.display()
                ),
                pick(
                    "stop it first, or give this one a data directory of its own",
                    "请先停止它，或给这一个另外指定数据目录",
                ),
            )),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Whether a weappd runs on the directory `path`.
    pub(crate) fn is_held(path: &Path) -> Result<bool, ExitFailure> {
        let place = path.join("lock");
        let lock = match File::open(&place) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(ExitFailure::new(&DirUnusable(place, error), "")),
        };
        // Shared: who looks stands in nobody's way who looks too.
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(ExitFailure::new(&DirUnusable(place, error.into()), "")),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket on which a running weappd takes commands.
    pub(crate) fn control_socket(path: &Path) -> PathBuf {
        path.join("control.sock")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the data directory {0} cannot be used")]
struct DirUnusable(PathBuf, #[source] io::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weappd_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let words = format!("{:?}", DataDir::open(&path).unwrap_err());
        assert!(words.contains("another weappd is running"), "{words}");
        assert!(DataDir::is_held(&path).unwrap());
        drop(first);
        assert!(!DataDir::is_held(&path).unwrap());
        assert!(!DataDir::is_held(&temp.path().join("other")).unwrap());
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        fs::write(&path, b"x").unwrap();
        let words = format!("{:?}", DataDir::open(&path).unwrap_err());
        assert!(words.contains("data"), "{words}");
    }
}
