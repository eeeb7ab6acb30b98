//! The `[gateway]` section, and the mini programs it speaks for.

use serde::Deserialize;
use weappd_base::language::pick;
use weappd_base::secret::Secret;
use weappd_base::setting_problem::SettingProblem;
use weappd_base::words;
use weappd_wechat::AppCredential;
use weappd_wechat::api_sign::KeyTexts;

/// The `[gateway]` section of weappd.toml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which WeChat API paths apps may call through weappd, as prefixes of whole path
    /// parts: `/wxa` covers `/wxa/msg_sec_check`. Empty: all.
    pub allow: Vec<String>,
    /// How access tokens are fetched: `stable` (`/cgi-bin/stable_token`, which does not
    /// disturb other programs) or `classic` (`/cgi-bin/token`).
    pub token: TokenMode,
    /// The longest request body sent on to WeChat.
    pub max_request_bytes: u64,
    /// The longest answer passed back.
    pub max_answer_bytes: u64,
    /// How long one call may take, from its arrival to the last byte of the answer, in
    /// milliseconds.
    pub timeout_ms: u64,
    /// Request bodies up to this size are kept until the answer is there, so that a call
    /// refused for a stale token can be sent again.
    pub replay_bytes: usize,
    /// Longer ones, up to this size, are kept in a file for it.
    pub spool_bytes: u64,
    /// What happens to messages WeChat pushes.
    pub inbox: InboxConfig,
}

/// How access tokens are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenMode {
    /// `POST /cgi-bin/stable_token`: everybody who asks gets the same token.
    #[default]
    Stable,
    /// `GET /cgi-bin/token`: every call makes a new token and ends the one before.
    Classic,
}

/// The `[gateway.inbox]` section: what happens to messages WeChat pushes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InboxConfig {
    /// The longest message taken.
    pub max_message_bytes: usize,
    /// How many messages may wait for the app. When there are more, WeChat is told to try
    /// again later.
    pub max_waiting: u64,
    /// How many messages are being delivered at once, each of another user.
    pub at_once: usize,
    /// How long the app may take over one message, in milliseconds.
    pub deliver_timeout_ms: u64,
    /// The pause before the second try, in milliseconds; it doubles with each further one.
    pub first_pause_ms: u64,
    /// The longest pause between two tries, in milliseconds.
    pub longest_pause_ms: u64,
    /// After how many hours a message that the app does not take becomes a dead letter.
    pub max_age_hours: u32,
    /// After how many answers of the app that are not 2xx a message becomes a dead letter
    /// sooner; 0: however many. An app that does not answer at all is tried on.
    pub max_refusals: u32,
    /// How many hours a delivered message is remembered, so that a repeated push is known
    /// for one. Orders, refunds and their like are remembered for 60 days at least.
    pub keep_hours: u32,
    /// How many hours the `timestamp` of a push may be off this machine's clock; 0: any.
    pub signature_hours: u32,
    /// How many days dead letters are kept.
    pub dead_days: u32,
    /// Message types (`MsgType`, or `event/` and the `Event`) whose push is answered with
    /// what the app answers, instead of `success`.
    pub reply_to: Vec<String>,
    /// How long a push waits for the app, in milliseconds, where WeChat wants to hear it;
    /// WeChat gives up after 5 seconds. Where it gives up after 3, at most 2500.
    pub reply_wait_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            token: TokenMode::Stable,
            max_request_bytes: 32 * 1024 * 1024,
            max_answer_bytes: 32 * 1024 * 1024,
            timeout_ms: 30_000,
            replay_bytes: 256 * 1024,
            spool_bytes: 16 * 1024 * 1024,
            inbox: InboxConfig::default(),
        }
    }
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1024 * 1024,
            max_waiting: 100_000,
            at_once: 16,
            deliver_timeout_ms: 10_000,
            first_pause_ms: 1000,
            longest_pause_ms: 600_000,
            max_age_hours: 72,
            max_refusals: 0,
            keep_hours: 24,
            signature_hours: 24,
            dead_days: 30,
            reply_to: Vec::new(),
            reply_wait_ms: 4000,
        }
    }
}

impl Config {
    /// What is wrong with the section.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        for path in &self.allow {
            if !path.starts_with('/') || path.contains(['?', '#', '%', ' ', '*']) {
                problems.push(SettingProblem::new(
                    "allow",
                    words!("{path:?} is not a path prefix", "{path:?} 不是路径前缀"),
                    pick(
                        "write it like /wxa or /cgi-bin/message, without ? and *",
                        "写成 /wxa 或 /cgi-bin/message 这样，不带 ? 和 *",
                    ),
                ));
            }
        }
        range(
            &mut problems,
            "timeout_ms",
            self.timeout_ms,
            100..=600_000,
            pick("the original's limit is 30000", "原平台的上限是 30000"),
        );
        let most = 1024 * 1024 * 1024;
        let size = pick(
            "the original's limit is 33554432",
            "原平台的上限是 33554432",
        );
        range(
            &mut problems,
            "max_request_bytes",
            self.max_request_bytes,
            1024..=most,
            size,
        );
        range(
            &mut problems,
            "max_answer_bytes",
            self.max_answer_bytes,
            1024..=most,
            size,
        );
        let replay = self.replay_bytes as u64;
        let hint = pick(
            "this much memory is held for each call under way",
            "每个进行中的调用都会占用这么多内存",
        );
        range(
            &mut problems,
            "replay_bytes",
            replay,
            0..=16 * 1024 * 1024,
            hint,
        );
        range(
            &mut problems,
            "spool_bytes",
            self.spool_bytes,
            0..=most,
            pick(
                "at most 16 such bodies are on the disk at once",
                "磁盘上同时最多有 16 个这样的请求体",
            ),
        );
        self.inbox.add_problems(&mut problems);
        problems
    }
}

impl InboxConfig {
    fn add_problems(&self, problems: &mut Vec<SettingProblem>) {
        let at_once = self.at_once as u64;
        let length = self.max_message_bytes as u64;
        let checks = [
            (
                "inbox.max_message_bytes",
                length,
                1024..=16 * 1024 * 1024,
                pick(
                    "WeChat's messages have some kilobytes",
                    "微信的消息只有几 KB",
                ),
            ),
            (
                "inbox.at_once",
                at_once,
                1..=1024,
                pick("16 is a good number", "16 比较合适"),
            ),
            (
                "inbox.max_waiting",
                self.max_waiting,
                1..=10_000_000,
                pick("100000 is a good number", "100000 比较合适"),
            ),
            (
                "inbox.deliver_timeout_ms",
                self.deliver_timeout_ms,
                10..=600_000,
                pick("10000 is a good number", "10000 比较合适"),
            ),
            (
                "inbox.first_pause_ms",
                self.first_pause_ms,
                10..=3_600_000,
                pick("1000 is a good number", "1000 比较合适"),
            ),
            (
                "inbox.longest_pause_ms",
                self.longest_pause_ms,
                self.first_pause_ms.max(10)..=86_400_000,
                pick(
                    "it must not be shorter than first_pause_ms",
                    "不能比 first_pause_ms 短",
                ),
            ),
            (
                "inbox.max_refusals",
                u64::from(self.max_refusals),
                0..=10_000,
                pick("0 is a good number: time decides", "0 比较合适：由时间决定"),
            ),
            (
                "inbox.max_age_hours",
                u64::from(self.max_age_hours),
                1..=8760,
                pick("72 is a good number", "72 比较合适"),
            ),
            (
                "inbox.reply_wait_ms",
                self.reply_wait_ms,
                100..=4800,
                pick(
                    "WeChat hangs up after 5 seconds",
                    "微信 5 秒内收不到响应就会断开连接",
                ),
            ),
        ];
        for (field, value, allowed, hint) in checks {
            range(problems, field, value, allowed, hint);
        }
    }
}

fn range(
    problems: &mut Vec<SettingProblem>,
    field: &'static str,
    value: u64,
    allowed: std::ops::RangeInclusive<u64>,
    hint: &str,
) {
    if !allowed.contains(&value) {
        let (least, most) = (allowed.start(), allowed.end());
        problems.push(SettingProblem::new(
            field,
            words!("{value} is out of range", "{value} 超出范围"),
            words!(
                "choose {least} to {most}; {hint}",
                "请写 {least} 到 {most}；{hint}"
            ),
        ));
    }
}

/// A mini program the gateway speaks for.
#[derive(Clone, Debug)]
pub struct GatewayApp {
    /// Its name and password at WeChat.
    pub credential: AppCredential,
    /// The message Token set in WeChat's console; without one it takes no messages.
    pub token: Option<Secret>,
    /// The `EncodingAESKey` set there. With one, only encrypted messages are taken.
    pub encoding_aes_key: Option<Secret>,
    /// Further push configurations, each with a path of its own.
    pub pushes: Vec<PushChannel>,
    /// When a push that is a deed (an order to deliver, a refund) is answered.
    pub answer: AnswerWhen,
    /// The keys of WeChat's API security (API 安全); without them calls go in plain.
    pub api_security: Option<ApiSecurity>,
}

/// A push configuration beside the mini program's own: mini games have one for orders to
/// deliver and one for events. WeChat waits 3 seconds there, and wants answers in plain.
#[derive(Clone, Debug)]
pub struct PushChannel {
    /// Where WeChat pushes to.
    pub path: String,
    /// The Token set for it in WeChat's console.
    pub token: Secret,
    /// The `EncodingAESKey` set there. With one, only encrypted messages are taken.
    pub encoding_aes_key: Option<Secret>,
}

/// When WeChat is told that a deed is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerWhen {
    /// When the app says so.
    #[default]
    Acted,
    /// When it is on the disk: the app gets it as soon as it takes it.
    Stored,
}

impl GatewayApp {
    /// Whether it takes messages at all.
    pub(crate) fn takes_messages(&self) -> bool {
        self.token.is_some() || !self.pushes.is_empty()
    }
}

/// How a mini program's calls are encrypted and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSecurity {
    /// Both sides' keys.
    pub keys: KeyTexts,
    /// The paths whose calls are sealed; those WeChat documents, unless said.
    pub paths: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let config = Config {
            allow: vec!["wxa".to_owned(), "/cgi-bin".to_owned()],
            timeout_ms: 1,
            inbox: InboxConfig {
                at_once: 0,
                longest_pause_ms: 20,
                reply_wait_ms: 5000,
                ..InboxConfig::default()
            },
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "allow",
                "timeout_ms",
                "inbox.at_once",
                "inbox.longest_pause_ms",
                "inbox.reply_wait_ms"
            ]
        );
    }

    #[test]
    fn sections_are_read_and_unknown_keys_refused() {
        let good = serde_json::json!({"token": "classic", "inbox": {"max_refusals": 3}});
        let config: Config = serde_json::from_value(good).expect("a section");
        assert_eq!(config.token, TokenMode::Classic);
        assert_eq!(config.inbox.max_refusals, 3);
        assert!(serde_json::from_value::<Config>(serde_json::json!({"tokens": 1})).is_err());
    }
}
