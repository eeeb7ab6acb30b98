//! The directory of files: where uploads grow, where they stay, and what is counted.
//!
//! ```text
//! files/.incoming/<name>     an upload on its way in, locked by whoever writes it
//! files/ab/ab12....jpg       a complete one
//! ```

use std::{
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::{error::Error, file_name::FileName};

/// Where uploads grow until they are complete.
pub(crate) const INCOMING_DIR: &str = ".incoming";
/// Opens what stands there itself, never what a link points to.
pub(crate) const NO_LINK_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// The directories, open, and the bytes in them.
#[derive(Debug)]
pub(crate) struct FileStore {
    pub(crate) root: OwnedFd,
    pub(crate) incoming: OwnedFd,
    path: PathBuf,
    /// How many bytes may be in it; 0 sets no limit.
    limit: AtomicU64,
    /// The bytes of all files and uploads; of those alone that came and went since the start,
    /// until they were counted.
    pub(crate) used: AtomicI64,
    /// Those of them that are on their way in.
    incoming_bytes: AtomicI64,
    is_counted: AtomicBool,
}

/// A limit that can be set at once.
#[derive(Debug)]
pub(crate) struct StagedLimit {
    limit: u64,
    /// What the count is short of, if the files had not been counted.
    uncounted: Option<i64>,
}

impl FileStore {
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (incoming, _) = make_and_open(&root, INCOMING_DIR)?;
        sweep(&path.join(INCOMING_DIR), &incoming)?;
        let used = if limit == 0 { 0 } else { count(path)? };
        Ok(Self {
            root,
            incoming,
            path: path.to_owned(),
            limit: AtomicU64::new(limit),
            used: AtomicI64::new(signed(used)),
            incoming_bytes: AtomicI64::new(0),
            is_counted: AtomicBool::new(limit != 0),
        })
    }

    /// Makes ready to set another limit. The first one needs all files counted; what comes or goes
    /// during the count may be counted twice or not at all, until the next start.
    pub(crate) fn prepare_limit(&self, limit: u64) -> io::Result<StagedLimit> {
        let uncounted = if limit == 0 || self.is_counted.load(Ordering::Relaxed) {
            None
        } else {
            let known = self.used.load(Ordering::Relaxed);
            let incoming = self.incoming_bytes.load(Ordering::Relaxed);
            Some(signed(count(&self.path)?) + incoming - known)
        };
        Ok(StagedLimit { limit, uncounted })
    }

    pub(crate) fn set_limit(&self, staged: &StagedLimit) {
        if let Some(uncounted) = staged.uncounted
            && !self.is_counted.swap(true, Ordering::Relaxed)
        {
            self.used.fetch_add(uncounted, Ordering::Relaxed);
        }
        self.limit.store(staged.limit, Ordering::Relaxed);
    }

    /// Opens a kept file; a link or anything else in its place is not one.
    pub(crate) fn find(&self, name: &FileName) -> Result<File, Error> {
        let opened = open_dir(&self.root, name.shard()).and_then(|shard| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | NO_LINK_FLAGS;
            let file = rustix::fs::openat(&shard, name.as_str(), flags, Mode::empty())?;
            Ok(File::from(file))
        });
        match opened {
            Ok(file) if file.metadata().map_err(Error::OpenFile)?.is_file() => Ok(file),
            Ok(_) => Err(Error::NotFound),
            Err(error) => match error
                .raw_os_error()
                .map(rustix::io::Errno::from_raw_os_error)
            {
                Some(
                    rustix::io::Errno::NOENT
                    | rustix::io::Errno::LOOP
                    | rustix::io::Errno::NOTDIR
                    | rustix::io::Errno::MLINK
                    | rustix::io::Errno::NXIO,
                ) => Err(Error::NotFound),
                _ => Err(Error::OpenFile(error)),
            },
        }
    }

    pub(crate) fn remove(&self, name: &FileName) -> Result<bool, Error> {
        let size = match self.find(name) {
            Ok(file) => file.metadata().map_err(Error::OpenFile)?.len(),
            Err(Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        let removed = open_dir(&self.root, name.shard()).and_then(|shard| {
            rustix::fs::unlinkat(&shard, name.as_str(), AtFlags::empty())?;
            Ok(())
        });
        match removed {
            Ok(()) => {
                self.release(size);
                Ok(true)
            }
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::RemoveFile(error)),
        }
    }

    pub(crate) fn names_in(&self, shard: &str) -> io::Result<Vec<(FileName, Duration)>> {
        let shard = match open_dir(&self.root, shard) {
            Ok(shard) => shard,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&shard)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok().and_then(FileName::parse);
            let Some(name) = name.filter(FileName::is_owned) else {
                continue;
            };
            // Whoever removed it meanwhile has done the work.
            if let Ok(state) = rustix::fs::statat(&shard, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            {
                let came = u64::try_from(state.st_mtime).unwrap_or_default();
                let came = SystemTime::UNIX_EPOCH + Duration::from_secs(came);
                names.push((name, came.elapsed().unwrap_or_default()));
            }
        }
        Ok(names)
    }

    /// Takes `bytes` of the room that is left for all files, or refuses.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        let most = if limit == 0 { i64::MAX } else { signed(limit) };
        let bytes = signed(bytes);
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= most)
            })
            .map_err(|_| Error::TotalReached { limit })?;
        self.incoming_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Reserved bytes are those of a complete file.
    pub(crate) fn settle(&self, bytes: u64) {
        self.incoming_bytes
            .fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    /// A file of so many bytes is gone.
    pub(crate) fn release(&self, bytes: u64) {
        self.used.fetch_sub(signed(bytes), Ordering::Relaxed);
    }
}

/// Opens a directory under `parent`, not through a link.
fn open_dir(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | NO_LINK_FLAGS;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a directory under `parent`, making it if need be; says whether it was made.
pub(crate) fn make_and_open(parent: impl AsFd, name: &str) -> io::Result<(OwnedFd, bool)> {
    let made = match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    Ok((open_dir(parent, name)?, made))
}

/// Removes uploads whose writer is gone. One that another weappd still writes (an old one
/// finishing while the new one starts) is locked, and stays.
fn sweep(path: &Path, incoming: &OwnedFd) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | NO_LINK_FLAGS;
        if let Ok(file) = rustix::fs::openat(incoming, &name, flags, Mode::empty())
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            continue;
        }
        tracing::info!(file = %name.display(), "removing an upload that was cut short");
        match rustix::fs::unlinkat(incoming, &name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => tracing::warn!(%error, file = %name.display(), "could not be removed"),
        }
    }
    Ok(())
}

/// No disk holds more.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The bytes of all files in the shards.
fn count(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for shard in std::fs::read_dir(root)? {
        let shard = shard?;
        if !shard.file_type()?.is_dir() || shard.file_name() == INCOMING_DIR {
            continue;
        }
        for file in std::fs::read_dir(shard.path())? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok(bytes)
}
