//! Why WeChat refuses a call: its numbers and its texts.

/// Why WeChat refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WechatRefusal {
    TokenNotLatest,
    GrantType,
    Openid,
    MediaType,
    MessageType,
    Appid,
    TokenInvalid,
    Code,
    Template,
    UnknownPath,
    Args,
    Secret,
    Scene,
    PathLength,
    CodeUsed,
    CodeScene,
    RiskyUser,
    TokenMissing,
    AppidMissing,
    SecretMissing,
    CodeMissing,
    Page,
    TokenExpired,
    NotGet,
    NotPost,
    NotSubscribed,
    OtherApp,
    BodyEmpty,
    CodesUsedUp,
    DayLimit,
    MinuteLimit,
    OutOfTime,
    RepliesUsedUp,
    BodyNotJson,
    TemplateData(String),
    SensitiveWord,
    Inactive,
    SessionGone,
    NotOurs,
    SignatureMethod,
    Signature,
    ApiSignature,
    IpNotAllowed,
    SecretFrozen,
    ClearedTooOften,
    QuotaPath,
    Simulated(i64),
}

impl WechatRefusal {
    /// WeChat's number and text.
    pub(crate) fn wire(&self) -> (i64, &str) {
        match self {
            Self::TokenNotLatest => (
                40001,
                "invalid credential, access_token is invalid or not latest",
            ),
            Self::NotOurs => (1, "system error, unknown data"),
            Self::GrantType => (40002, "invalid grant_type"),
            Self::Openid => (40003, "invalid openid"),
            Self::MediaType => (40004, "invalid media type"),
            Self::MessageType => (40008, "invalid message type"),
            Self::Appid => (40013, "invalid appid"),
            Self::TokenInvalid => (40014, "invalid access_token"),
            Self::Code => (40029, "invalid code"),
            Self::Template => (40037, "invalid template_id"),
            Self::UnknownPath => (40066, "invalid url"),
            Self::Args => (40097, "invalid args"),
            Self::Secret => (40125, "invalid appsecret"),
            Self::Scene => (40129, "invalid scene"),
            Self::PathLength => (40159, "path is empty or longer than it may be"),
            Self::CodeUsed => (40163, "code been used"),
            Self::CodeScene => (
                40169,
                "invalid length for scene, or the data is not json string",
            ),
            Self::IpNotAllowed => (
                40164,
                "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist",
            ),
            Self::ApiSignature => (40234, "invalid signature"),
            Self::SecretFrozen => (40243, "AppSecret frozen"),
            Self::ClearedTooOften => (48006, "forbid to clear quota because of reaching the limit"),
            Self::QuotaPath => (76021, "cgi_path not found"),
            Self::RiskyUser => (40226, "code blocked"),
            Self::TokenMissing => (41001, "access_token missing"),
            Self::AppidMissing => (41002, "appid missing"),
            Self::SecretMissing => (41004, "appsecret missing"),
            Self::CodeMissing => (41008, "missing code"),
            Self::Page => (41030, "invalid page"),
            Self::TokenExpired => (42001, "access_token expired"),
            Self::NotGet => (43001, "require GET method"),
            Self::NotPost => (43002, "require POST method"),
            Self::NotSubscribed => (43101, "user refuse to accept the msg"),
            Self::OtherApp => (43104, "appid and openid not match"),
            Self::BodyEmpty => (44002, "empty post data"),
            Self::CodesUsedUp => (45029, "qrcode count out of limit"),
            Self::DayLimit => (45009, "reach max api daily quota limit"),
            Self::MinuteLimit => (
                45011,
                "api minute-quota reach limit, must slower, retry next minute",
            ),
            Self::OutOfTime => (
                45015,
                "response out of time limit or subscription is canceled",
            ),
            Self::RepliesUsedUp => (45047, "out of response count limit"),
            Self::BodyNotJson => (47001, "data format error"),
            Self::TemplateData(what) => (47003, what),
            Self::SensitiveWord => (45168, "sensitive word"),
            Self::Inactive => (61010, "code is expired"),
            Self::SessionGone => (87007, "session_key is not existed or expired"),
            Self::SignatureMethod => (87008, "invalid sig_method"),
            Self::Signature => (87009, "invalid signature"),
            Self::Simulated(-1) => (-1, "system error"),
            Self::Simulated(errcode) => (*errcode, "simulated fault"),
        }
    }
}

impl WechatRefusal {
    /// Whether WeChat refuses before it decrypts the call, and so in plain.
    pub(crate) fn is_before_decryption(&self) -> bool {
        matches!(
            self,
            Self::ApiSignature
                | Self::TokenNotLatest
                | Self::TokenInvalid
                | Self::TokenExpired
                | Self::TokenMissing
                | Self::UnknownPath
                | Self::NotGet
                | Self::NotPost
                | Self::MinuteLimit
                | Self::DayLimit
                | Self::Simulated(_)
        )
    }
}
