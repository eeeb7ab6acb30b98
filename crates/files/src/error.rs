//! What can go wrong with an upload, a download or the directory of files.

use std::{borrow::Cow, io, path::PathBuf};

use http::StatusCode;
use weappd_base::language::pick;
use weappd_base::tasks::WorkLost;
use weappd_base::words;

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
    #[error("{}", words!("the file is larger than the limit of {} bytes", "文件超过 {} 字节的上限", .limit))]
    TooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// The first bytes are of no type, or of one that is not accepted.
    #[error("{}", words!("files of this type are not accepted ({})", "不接受这种类型的文件（{}）", found_in_words(.found)))]
    TypeRefused {
        /// The recognised type, or `unknown type`.
        found: &'static str,
    },
    /// The request is not multipart/form-data.
    #[error(
        "{}",
        pick(
            "the request is not multipart/form-data, as wx.uploadFile sends it",
            "请求不是 wx.uploadFile 那样的 multipart/form-data"
        )
    )]
    NotMultipart,
    /// The request names no host, so no URL can be given.
    #[error("{}", pick("the request names no host", "请求没有带域名（Host）"))]
    NoHost,
    /// The multipart body breaks its own grammar or ends too early.
    #[error(
        "{}",
        pick(
            "the multipart body is broken or incomplete",
            "multipart 内容有误或不完整"
        )
    )]
    Malformed(#[source] multer::Error),
    /// The body could not be read to its end: the phone hung up.
    #[error(
        "{}",
        pick("the upload ended before it was complete", "上传没有完成就中断了")
    )]
    Interrupted(#[source] multer::Error),
    /// The body sent nothing for too long.
    #[error("{}", words!("the upload sent nothing for {} s", "上传已有 {} 秒没有收到数据", .secs))]
    Stalled {
        /// The configured patience.
        secs: u64,
    },
    /// The form has more parts, or longer names and texts, than an upload needs.
    #[error(
        "{}",
        pick(
            "the form has too many parts or too much text beside the file",
            "表单字段太多，或文件以外的内容太多"
        )
    )]
    TooMuchForm,
    /// The form holds no file.
    #[error("{}", pick("the form holds no file", "表单里没有文件"))]
    NoFile,
    /// The form holds a second file.
    #[error(
        "{}",
        pick(
            "the form holds more than one file; send one file a request",
            "表单里有多个文件；每次请求只传一个"
        )
    )]
    SecondFile,

    /// There is no such file.
    #[error("{}", pick("no such file", "没有这个文件"))]
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

/// What a file turned out to be: its type, by its name, or in words.
fn found_in_words(found: &'static str) -> &'static str {
    match found {
        "unknown type" => pick("unknown type", "未知类型"),
        "an empty file" => pick("an empty file", "空文件"),
        known => known,
    }
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
