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
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use weappd_base::{random::RandomSource, tasks::Work};

use crate::{config::Config, error::Error, name::FileName, picture::Owner};

/// Where uploads grow until they are complete.
const INCOMING: &str = ".incoming";
/// Opens what stands there itself, never what a link points to.
const NO_LINK: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// What [`Files::open`] needs.
#[derive(Debug)]
pub struct FilesParts {
    /// The `[files]` section.
    pub config: Config,
    /// What a relative `dir` stands under.
    pub data_dir: PathBuf,
    /// Where names come from.
    pub tokens: RandomSource,
    /// Where the disk is read and written.
    pub work: Work,
}

/// The open directory of files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    allowed: Vec<String>,
    tokens: RandomSource,
    work: Work,
    store: Arc<Store>,
}

/// The directories, open, and the bytes in them.
#[derive(Debug)]
pub(crate) struct Store {
    root: OwnedFd,
    incoming: OwnedFd,
    limit: u64,
    used: AtomicU64,
}

impl Files {
    /// Makes and opens the directory and removes what a crash left half-done. Touches the
    /// disk: call it before serving.
    pub fn open(parts: FilesParts) -> Result<Self, Error> {
        let path = parts.data_dir.join(&parts.config.dir);
        let store = Store::open(&path, parts.config.max_total_bytes)
            .map_err(|source| Error::OpenStore { path, source })?;
        let allowed = &parts.config.allowed_types;
        Ok(Self(Arc::new(Inner {
            allowed: allowed.iter().map(|t| crate::kind::canonical(t)).collect(),
            config: parts.config,
            tokens: parts.tokens,
            work: parts.work,
            store: Arc::new(store),
        })))
    }

    /// Whether files are served at all.
    pub fn is_enabled(&self) -> bool {
        self.0.config.enabled
    }

    /// Whether anybody may upload, without a session.
    pub fn is_anonymous(&self) -> bool {
        self.0.config.anonymous
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn allows(&self, mime: &str) -> bool {
        self.0.allowed.iter().any(|allowed| allowed == mime)
    }

    pub(crate) fn work(&self) -> &Work {
        &self.0.work
    }

    /// Begins an upload, of nobody or of an owner.
    pub(crate) async fn begin(
        &self,
        extension: &str,
        owner: Option<Owner<'_>>,
    ) -> Result<Draft, Error> {
        let name = match owner {
            Some(owner) => FileName::owned(&self.0.tokens, extension, owner),
            None => FileName::random(&self.0.tokens, extension),
        };
        let (store, work) = (Arc::clone(&self.0.store), self.0.work.clone());
        self.0
            .work
            .run_blocking(move || Draft::begin(store, work, name))
            .await
            .map_err(Error::WorkLost)?
    }

    /// Removes a kept file; says whether it was there.
    pub(crate) async fn remove(&self, name: FileName) -> Result<bool, Error> {
        let store = Arc::clone(&self.0.store);
        self.0
            .work
            .run_blocking(move || store.remove(&name))
            .await
            .map_err(Error::WorkLost)?
    }

    /// The files of a subdirectory that are somebody's own, and how long ago each came.
    pub(crate) async fn names_in(&self, shard: String) -> Result<Vec<(FileName, Duration)>, Error> {
        let store = Arc::clone(&self.0.store);
        self.0
            .work
            .run_blocking(move || store.names_in(&shard).map_err(Error::ReadStore))
            .await
            .map_err(Error::WorkLost)?
    }

    /// Opens a kept file.
    pub(crate) async fn find(&self, name: FileName) -> Result<File, Error> {
        let store = Arc::clone(&self.0.store);
        self.0
            .work
            .run_blocking(move || store.find(&name))
            .await
            .map_err(Error::WorkLost)?
    }
}

impl Store {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (incoming, _) = make_and_open(&root, INCOMING)?;
        sweep(&path.join(INCOMING), &incoming)?;
        let used = if limit == 0 { 0 } else { count(path)? };
        Ok(Self {
            root,
            incoming,
            limit,
            used: AtomicU64::new(used),
        })
    }

    /// Opens a kept file; a link or anything else in its place is not one.
    fn find(&self, name: &FileName) -> Result<File, Error> {
        let opened = open_dir(&self.root, name.shard()).and_then(|shard| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | NO_LINK;
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

    fn remove(&self, name: &FileName) -> Result<bool, Error> {
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

    fn names_in(&self, shard: &str) -> io::Result<Vec<(FileName, Duration)>> {
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
    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        if self.limit == 0 {
            return Ok(());
        }
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .map(|_| ())
            .map_err(|_| Error::TotalReached { limit: self.limit })
    }

    fn release(&self, bytes: u64) {
        if self.limit > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// An upload on its way in. Dropped before [`Draft::keep`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Draft {
    store: Arc<Store>,
    work: Work,
    file: File,
    name: FileName,
    written: u64,
    kept: bool,
}

impl Draft {
    fn begin(store: Arc<Store>, work: Work, name: FileName) -> Result<Self, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NO_LINK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&store.incoming, name.as_str(), flags, mode)
            .map_err(|e| Error::of_write(e.into(), Error::BeginUpload))?;
        let draft = Self {
            store,
            work,
            file: File::from(file),
            name,
            written: 0,
            kept: false,
        };
        // The lock tells a starting weappd that this upload is alive.
        rustix::fs::flock(&draft.file, FlockOperation::LockExclusive)
            .map_err(|e| Error::BeginUpload(e.into()))?;
        Ok(draft)
    }

    /// The name it will be kept under.
    pub(crate) fn name(&self) -> &FileName {
        &self.name
    }

    /// How many bytes were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes `bytes`, off the edge threads, and hands the emptied buffer back.
    pub(crate) async fn write(mut self, mut bytes: Vec<u8>) -> Result<(Self, Vec<u8>), Error> {
        let work = self.work.clone();
        work.run_blocking(move || {
            let count = bytes.len() as u64;
            self.store.reserve(count)?;
            self.written += count;
            io::Write::write_all(&mut self.file, &bytes)
                .map_err(|e| Error::of_write(e, Error::WriteUpload))?;
            bytes.clear();
            Ok((self, bytes))
        })
        .await
        .map_err(Error::WorkLost)?
    }

    /// Puts the complete upload in its place, safe against a power cut.
    pub(crate) async fn keep(self) -> Result<(), Error> {
        let work = self.work.clone();
        work.run_blocking(move || self.put_in_place())
            .await
            .map_err(Error::WorkLost)?
            .map_err(|e| Error::of_write(e, Error::KeepUpload))
    }

    fn put_in_place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let (shard, made) = make_and_open(&self.store.root, self.name.shard())?;
        let name = self.name.as_str();
        rustix::fs::renameat(&self.store.incoming, name, &shard, name)?;
        self.kept = true;
        rustix::fs::fsync(&shard)?;
        if made {
            rustix::fs::fsync(&self.store.root)?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.store.release(self.written);
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        // Off this thread, which may be an edge thread whose phone hung up. A house that
        // closes meanwhile sweeps it up at its next start.
        drop(self.work.handle().spawn_blocking(move || {
            if let Err(error) =
                rustix::fs::unlinkat(&store.incoming, name.as_str(), AtFlags::empty())
            {
                tracing::warn!(%error, file = %name, "an unfinished upload could not be removed");
            }
        }));
    }
}

/// Opens a directory under `parent`, not through a link.
fn open_dir(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | NO_LINK;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a directory under `parent`, making it if need be; says whether it was made.
fn make_and_open(parent: impl AsFd, name: &str) -> io::Result<(OwnedFd, bool)> {
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
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | NO_LINK;
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

/// The bytes of all files in the shards.
fn count(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for shard in std::fs::read_dir(root)? {
        let shard = shard?;
        if !shard.file_type()?.is_dir() || shard.file_name() == INCOMING {
            continue;
        }
        for file in std::fs::read_dir(shard.path())? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(root: &Path, limit: u64) -> Arc<Store> {
        Arc::new(Store::open(root, limit).expect("a store"))
    }

    fn draft(store: &Arc<Store>) -> Draft {
        let name = FileName::random(&RandomSource::system(), "jpg");
        Draft::begin(Arc::clone(store), Work::current(), name).expect("a draft")
    }

    /// Waits until nothing is on its way in.
    async fn nothing_incoming(root: &Path) {
        for _ in 0..500 {
            let left = std::fs::read_dir(root.join(INCOMING)).expect("a directory");
            if left.count() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        unreachable!("an upload was left behind");
    }

    #[tokio::test]
    async fn a_kept_draft_is_found_and_a_dropped_one_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path(), 0);
        let draft_kept = draft(&store);
        let name = draft_kept.name().clone();
        let (draft_kept, _) = draft_kept.write(b"12345".to_vec()).await.expect("written");
        assert!(matches!(store.find(&name), Err(Error::NotFound)));
        draft_kept.keep().await.expect("kept");
        let file = store.find(&name).expect("a file");
        assert_eq!(file.metadata().expect("metadata").len(), 5);

        let dropped = draft(&store);
        let (dropped, _) = dropped.write(b"12345".to_vec()).await.expect("written");
        drop(dropped);
        nothing_incoming(dir.path()).await;
        assert!(store.find(&name).is_ok());
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_nothing_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path(), 0);
        let mut draft = draft(&store);
        draft.file = File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let error = draft.write(vec![1; 10]).await.expect_err("no space");
        assert!(matches!(error, Error::DiskFull(_)), "{error:?}");
        nothing_incoming(dir.path()).await;
    }

    #[tokio::test]
    async fn all_files_together_stay_within_the_limit_even_in_a_race() {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = store(dir.path(), 100);
        let writes = (0..20).map(|_| {
            let draft = draft(&shared);
            async move {
                let (draft, _) = draft.write(vec![1; 30]).await?;
                draft.keep().await
            }
        });
        let kept = futures_util::future::join_all(writes).await;
        assert_eq!(kept.iter().filter(|kept| kept.is_ok()).count(), 3);
        for refused in kept.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, Error::TotalReached { limit: 100 }));
        }
        nothing_incoming(dir.path()).await;
        // A restart counts what is there.
        let again = store(dir.path(), 100);
        assert_eq!(again.used.load(Ordering::Relaxed), 90);
        assert_eq!(shared.used.load(Ordering::Relaxed), 90);
    }

    #[tokio::test]
    async fn a_start_sweeps_what_a_crash_left_and_spares_the_living() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = store(dir.path(), 0);
        let living = draft(&first);
        let incoming = dir.path().join(INCOMING);
        std::fs::write(incoming.join("left-behind"), b"half").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", incoming.join("link")).expect("a link");
        store(dir.path(), 0);
        let names: Vec<_> = std::fs::read_dir(&incoming)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, [living.name().as_str()]);
        assert!(Path::new("/etc/passwd").exists());
        living.keep().await.expect("kept");
    }

    #[tokio::test]
    async fn no_link_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        let store = store(dir.path(), 0);
        let name = FileName::random(&RandomSource::system(), "jpg");
        std::fs::write(outside.path().join(name.as_str()), b"secret").expect("written");

        // A shard that is a link.
        std::os::unix::fs::symlink(outside.path(), dir.path().join(name.shard())).expect("link");
        assert!(matches!(store.find(&name), Err(Error::NotFound)));
        let draft = Draft::begin(Arc::clone(&store), Work::current(), name.clone());
        let refused = draft.expect("a draft").keep().await;
        assert!(matches!(refused, Err(Error::KeepUpload(_))), "{refused:?}");

        // A file that is a link, a directory, a pipe.
        std::fs::remove_file(dir.path().join(name.shard())).expect("removed");
        std::fs::create_dir(dir.path().join(name.shard())).expect("made");
        let place = dir.path().join(name.shard()).join(name.as_str());
        std::os::unix::fs::symlink(outside.path().join(name.as_str()), &place).expect("link");
        assert!(matches!(store.find(&name), Err(Error::NotFound)));
        std::fs::remove_file(&place).expect("removed");
        std::fs::create_dir(&place).expect("made");
        assert!(matches!(store.find(&name), Err(Error::NotFound)));
    }
}
