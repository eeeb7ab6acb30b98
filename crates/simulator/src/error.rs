//! What the simulator refuses, in the phone's words where the phone is told.

/// A deed the simulated phone or WeChat cannot do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A simulator needs at least one mini program.
    #[error("the simulator was given no mini program")]
    NoMiniApp,
    /// The user's name cannot be used.
    #[error("a user's name is 1 to 32 of a-z, 0-9, _ and -")]
    UserName,
    /// The phone asks for a mini program the simulator does not have.
    #[error("there is no mini program with this appid")]
    UnknownApp,
    /// The simulator holds as many users as it may.
    #[error("the simulator holds no more than {limit} users")]
    TooManyUsers {
        /// The most it holds.
        limit: usize,
    },
    /// The request's body cannot be read.
    #[error("the body must be a JSON object: {0}")]
    Body(#[source] serde_json::Error),
    /// `authorize` does not say what the user chose.
    #[error("the body must hold \"allow\": true or false")]
    AllowMissing,
    /// The user refused, as a phone says it.
    #[error("{api}:fail auth deny")]
    Denied {
        /// The `wx` call that was refused.
        api: &'static str,
    },
    /// The phone has no valid login, which encrypted data needs.
    #[error("{api}:fail wx.login is needed first")]
    NotLoggedIn {
        /// The `wx` call that needs it.
        api: &'static str,
    },
    /// A field the call needs is not there, or is not what it must be.
    #[error("the body must hold {0}")]
    Field(&'static str),
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(&'static str),
    /// The clock cannot be moved so far.
    #[error("advance_secs must be within ten years")]
    Advance,
    /// Nothing can be pushed before it is told where to.
    #[error("no push address is set for this mini program: POST /push sets one")]
    NoPush,
    /// The push settings cannot be used.
    #[error("the push settings cannot be used: {0}")]
    Push(&'static str),
    /// The server behind the push address did not echo what it should.
    #[error("the push address was not verified: {0}")]
    NotVerified(String),
    /// The data could not be encrypted.
    #[error("the user's data could not be encrypted")]
    Encrypt(#[source] weappd_wechat::Error),
}
