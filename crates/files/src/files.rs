//! The open room: what uploads and downloads ask of the directory of files.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use weappd_base::{random::RandomSource, tasks::Work};

use crate::{
    config::Config, error::Error, file_name::FileName, file_settings::FileSettings,
    picture_owner::PictureOwner, store::FileStore, transfer_counters::TransferCounters,
    upload_draft::UploadDraft,
};

/// What [`Files::open`] needs.
#[derive(Debug)]
pub struct FilesParts {
    /// The `[files]` section.
    pub config: Config,
    /// What a relative `dir` stands under.
    pub data_dir: PathBuf,
    /// Where names come from.
    pub random: RandomSource,
    /// Where the disk is read and written.
    pub work: Work,
}

/// The open directory of files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: ArcSwap<FileSettings>,
    random: RandomSource,
    work: Work,
    store: Arc<FileStore>,
    counters: TransferCounters,
}

impl Files {
    /// Makes and opens the directory and removes what a crash left half-done. Touches the
    /// disk: call it before serving.
    pub fn open(parts: FilesParts) -> Result<Self, Error> {
        let path = parts.data_dir.join(&parts.config.dir);
        let store = FileStore::open(&path, parts.config.max_total_bytes)
            .map_err(|source| Error::OpenStore { path, source })?;
        Ok(Self(Arc::new(Shared {
            settings: ArcSwap::from_pointee(FileSettings::new(parts.config)),
            random: parts.random,
            work: parts.work,
            store: Arc::new(store),
            counters: TransferCounters::default(),
        })))
    }

    /// Whether files are served at all.
    pub fn is_enabled(&self) -> bool {
        self.settings().config.enabled
    }

    /// Whether anybody may upload, without a session.
    pub fn is_anonymous(&self) -> bool {
        self.settings().config.anonymous
    }

    /// The settings that hold now.
    pub(crate) fn settings(&self) -> Arc<FileSettings> {
        self.0.settings.load_full()
    }

    /// Has requests that begin from now on go by these.
    pub(crate) fn set_settings(&self, settings: FileSettings) {
        self.0.settings.store(Arc::new(settings));
    }

    pub(crate) fn store(&self) -> &FileStore {
        &self.0.store
    }

    pub(crate) fn counters(&self) -> &TransferCounters {
        &self.0.counters
    }

    pub(crate) fn work(&self) -> &Work {
        &self.0.work
    }

    /// Begins an upload, of nobody or of an owner.
    pub(crate) async fn begin(
        &self,
        extension: &str,
        owner: Option<PictureOwner<'_>>,
    ) -> Result<UploadDraft, Error> {
        let name = match owner {
            Some(owner) => FileName::owned(&self.0.random, extension, owner),
            None => FileName::random(&self.0.random, extension),
        };
        let (store, work) = (Arc::clone(&self.0.store), self.0.work.clone());
        self.0
            .work
            .run_blocking(move || UploadDraft::begin(store, work, name))
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
