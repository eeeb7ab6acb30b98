//! What can go wrong with logins and with the store.

use std::sync::Arc;

use weappd_base::tasks::WorkLost;
use weappd_base::words;
use weappd_wechat::CallError;

/// What is said of encrypted data that cannot be used, whatever is wrong with it.
pub(crate) const UNOPENED: &str = "the data does not open with WeChat's session key of this user, or is not whole, new and this user's: call wx.login, log in with its code, then ask the phone for the data anew";
/// The same in Chinese.
pub(crate) const UNOPENED_ZH: &str = "数据无法用该用户的 session_key 解密，或数据不完整、已过时、不属于该用户：请调用 wx.login，用得到的 code 登录，再让手机重新获取数据";

/// A login or a store operation failed.
///
/// Cheap to clone: a failed exchange or transaction is told to everyone who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store is none that weappd can open.
    #[error("{}", words!("{:?} is no store; write sqlite:FILE or mysql://USER:PASSWORD@HOST:PORT/DATABASE", "{:?} 不是数据库地址；请写 sqlite:文件，或 mysql://用户:密码@主机:端口/数据库", .0))]
    StoreKind(String),

    /// The database file could not be made.
    #[error(
        "failed to create the session database {place}: give weappd the right to write there, or set [session] store"
    )]
    CreateStore {
        /// The database: a file, or a server and the database on it.
        place: String,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },

    /// The database file could not be opened.
    #[error("failed to open the session database {place}: {hint}")]
    OpenStore {
        /// The database: a file, or a server and the database on it.
        place: String,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },

    /// The file belongs to some other program.
    #[error(
        "{place} is a database of another program: move it away, or set [session] store to another one"
    )]
    ForeignStore {
        /// The database: a file, or a server and the database on it.
        place: String,
    },

    /// The file was written by a newer weappd.
    #[error(
        "the session database {place} has schema {found}, this weappd knows schema {known}: run the newer weappd, or restore a backup made before the upgrade"
    )]
    NewerStore {
        /// The database: a file, or a server and the database on it.
        place: String,
        /// The file's schema version.
        found: i64,
        /// The newest version this weappd knows.
        known: i64,
    },

    /// The database refused a read.
    #[error("failed to read the session database {place}: {hint}")]
    ReadStore {
        /// The database: a file, or a server and the database on it.
        place: String,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },

    /// The database refused a write; nothing of it was kept.
    #[error("failed to write the session database {place}: {hint}")]
    WriteStore {
        /// The database: a file, or a server and the database on it.
        place: String,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// The database did not answer in time; what was asked may or may not have happened.
    #[error(
        "the session database {place} did not answer within {waited_ms} ms: see that a MySQL or MariaDB server runs there and can be reached"
    )]
    StoreSilent {
        /// The database.
        place: String,
        /// How long it was waited for.
        waited_ms: u64,
    },

    /// The key file that protects the session keys in the database cannot be used.
    #[error("failed to use the session key file {place}: {hint}")]
    KeyFile {
        /// The file.
        place: String,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },

    /// What another node sealed does not open here.
    #[error(
        "a value in {place} was sealed with another session key file: give every node that shares the database the same [session] key_file"
    )]
    OtherKeyFile {
        /// The database.
        place: String,
    },

    /// A database of the old servers holds one mini program, and it is not clear which.
    #[error(
        "{place} holds the sessions of one mini program, but does not name it and {configured} are configured: leave one, or add its row to cAppinfo"
    )]
    WhichApp {
        /// The database.
        place: String,
        /// How many mini programs the configuration names.
        configured: usize,
    },

    /// A database of the old servers is open for a mini program that would not be configured
    /// any more.
    #[error(
        "{place} holds the sessions of {appid}: configure that mini program, or restart weappd to use the database for another one"
    )]
    OtherApp {
        /// The database.
        place: String,
        /// Its mini program.
        appid: String,
    },

    /// Too many logins, counted here and not by WeChat.
    #[error("too many logins, try again in {retry_secs} s")]
    TooManyLogins {
        /// After how many seconds a login is let through again.
        retry_secs: u64,
    },

    /// Too much encrypted data that did not open.
    #[error("too much data of this user did not open, try again in {retry_secs} s")]
    TooManyFailures {
        /// After how many seconds data is looked at again.
        retry_secs: u64,
    },

    /// The store is closed: weappd is shutting down.
    #[error("the session store is closed: weappd is shutting down")]
    Closed,

    /// The work for this request was cut short.
    #[error("the login was cut short")]
    CutShort(#[source] Arc<WorkLost>),

    /// No mini program of that AppID is configured.
    #[error("no mini program {appid:?} is configured")]
    UnknownApp {
        /// The AppID the site or the call named; empty when there was none to take.
        appid: String,
    },

    /// WeChat did not exchange the code.
    #[error("failed to exchange the login code with WeChat")]
    Exchange(#[source] Arc<weappd_wechat::Error>),

    /// The encrypted user data cannot be used: one word for whatever is wrong with it.
    #[error("{UNOPENED}")]
    Unopened,

    /// The encrypted user data is not even encoded as it must be.
    #[error("the user data cannot be read")]
    Encoding(#[source] Arc<weappd_wechat::Error>),

    /// The signature beside the user data is not of the login's session key.
    #[error("the signature does not fit: rawData is not WeChat's, or older than the code")]
    Unsigned,

    /// A call of WeChat's API gave no answer.
    #[error("failed to call WeChat's API")]
    Call(#[from] CallError),

    /// An input is missing or beyond its limit.
    #[error("{0}")]
    Input(&'static str),
}

impl From<WorkLost> for Error {
    fn from(lost: WorkLost) -> Self {
        Self::CutShort(Arc::new(lost))
    }
}
