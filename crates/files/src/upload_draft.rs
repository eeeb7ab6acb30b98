//! An upload on its way in: a file of its own, locked by whoever writes it.

use std::{fs::File, io, sync::Arc};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use weappd_base::tasks::Work;

use crate::{
    error::Error,
    file_name::FileName,
    store::{FileStore, NO_LINK_FLAGS, make_and_open},
};

/// An upload on its way in. Dropped before [`UploadDraft::keep`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct UploadDraft {
    store: Arc<FileStore>,
    work: Work,
    file: File,
    name: FileName,
    written: u64,
    kept: bool,
}

impl UploadDraft {
    pub(crate) fn begin(store: Arc<FileStore>, work: Work, name: FileName) -> Result<Self, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NO_LINK_FLAGS;
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
        self.store.settle(self.written);
        rustix::fs::fsync(&shard)?;
        if made {
            rustix::fs::fsync(&self.store.root)?;
        }
        Ok(())
    }
}

impl Drop for UploadDraft {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.store.settle(self.written);
        self.store.release(self.written);
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        // Off this thread, which may be an edge thread whose phone hung up. If weappd
        // stops meanwhile, its next start removes it.
        drop(self.work.handle().spawn_blocking(move || {
            if let Err(error) =
                rustix::fs::unlinkat(&store.incoming, name.as_str(), AtFlags::empty())
            {
                tracing::warn!(%error, file = %name, "an unfinished upload could not be removed");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use weappd_base::random::RandomSource;

    use super::*;
    use crate::store::INCOMING_DIR;

    fn store(root: &Path, limit: u64) -> Arc<FileStore> {
        Arc::new(FileStore::open(root, limit).expect("a store"))
    }

    fn draft(store: &Arc<FileStore>) -> UploadDraft {
        let name = FileName::random(&RandomSource::system(), "jpg");
        UploadDraft::begin(Arc::clone(store), Work::current(), name).expect("a draft")
    }

    /// Waits until nothing is on its way in.
    async fn nothing_incoming(root: &Path) {
        for _ in 0..500 {
            let left = std::fs::read_dir(root.join(INCOMING_DIR)).expect("a directory");
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
        let incoming = dir.path().join(INCOMING_DIR);
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
        let draft = UploadDraft::begin(Arc::clone(&store), Work::current(), name.clone());
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
