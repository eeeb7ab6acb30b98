//! What can go wrong with an upload, a download or the directory of files.

use std::{borrow::Cow, io, path::PathBuf};

use http::StatusCode;
use weappd_base::tasks::WorkLost;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of files could not be made, opened or swept.
    #[error("failed to open the directory of uploads {}", path.display())]
    OpenStore {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A setting cannot be used.
    #[error("files.{field}: {message}")]
    Setting {
        /// The key under `[files]`.
        field: Cow<'static, str>,
        /// What is wrong with it.
        message: String,
    },
    /// The file for an upload could not be made.
    #[error("failed to begin an upload")]
    BeginUpload(#[source] io::Error),
    /// An upload's bytes could not be written.
    #[error("failed to write an upload")]
    WriteUpload(#[source] io::Error),
    /// A complete upload could not be put in its place.
    #[error("failed to keep an upload")]
    KeepUpload(#[source] io::Error),
    /// The disk, or the user's share of it, is full.
    #[error("no space left for uploads")]
    DiskFull(#[source] io::Error),
    /// All files together would grow past `max_total_bytes`.
    #[error("uploads may not take more than {limit} bytes together")]
    TotalReached {
        /// The configured limit.
        limit: u64,
    },
    /// weappd is stopping, or the work panicked.
    #[error("the upload was cut short")]
    WorkLost(#[source] WorkLost),

    /// The file is larger than `max_upload_bytes`.
    #[error("the file is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// The first bytes are of no type, or of one that is not accepted.
    #[error("files of this type are not accepted ({found})")]
    TypeRefused {
        /// The recognised type, or `unknown type`.
        found: &'static str,
    },
    /// The request is not multipart/form-data.
    #[error("the request is not multipart/form-data, as wx.uploadFile sends it")]
    NotMultipart,
    /// The request names no host, so no URL can be given.
    #[error("the request names no host")]
    NoHost,
    /// The multipart body breaks its own grammar or ends too early.
    #[error("the multipart body is broken or incomplete")]
    Malformed(#[source] multer::Error),
    /// The body could not be read to its end: the phone hung up.
    #[error("the upload ended before it was complete")]
    Interrupted(#[source] multer::Error),
    /// The body sent nothing for too long.
    #[error("the upload sent nothing for {secs} s")]
    Stalled {
        /// The configured patience.
        secs: u64,
    },
    /// The form has more parts, or longer names and texts, than an upload needs.
    #[error("the form has too many parts or too much text beside the file")]
    TooMuchForm,
    /// The form holds no file.
    #[error("the form holds no file")]
    NoFile,
    /// The form holds a second file.
    #[error("the form holds more than one file; send one file a request")]
    SecondFile,

    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// A kept file could not be removed.
    #[error("failed to remove a kept file")]
    RemoveFile(#[source] io::Error),
    /// The kept files could not be listed.
    #[error("failed to list kept files")]
    ReadStore(#[source] io::Error),
    /// A kept file could not be opened.
    #[error("failed to open a kept file")]
    OpenFile(#[source] io::Error),
}

impl Error {
    /// The HTTP status each failure is answered with; 5xx where weappd or its disk failed.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::OpenStore { .. }
            | Self::Setting { .. }
            | Self::BeginUpload(_)
            | Self::WriteUpload(_)
            | Self::KeepUpload(_)
            | Self::WorkLost(_)
            | Self::OpenFile(_)
            | Self::RemoveFile(_)
            | Self::ReadStore(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::DiskFull(_) | Self::TotalReached { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TypeRefused { .. } | Self::NotMultipart => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoHost
            | Self::Malformed(_)
            | Self::Interrupted(_)
            | Self::TooMuchForm
            | Self::NoFile
            | Self::SecondFile => StatusCode::BAD_REQUEST,
            Self::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// Sorts a write failure: a full disk is the operator's to solve, not a riddle.
    pub(crate) fn of_write(error: io::Error, other: fn(io::Error) -> Self) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(error),
            _ => other(error),
        }
    }
}
