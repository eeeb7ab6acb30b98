//! Reads what WeChat pushes: whose it is, whether it is genuine, what it says.
//!
//! An encrypted push is proven by `msg_signature` alone; `signature` does not cover the
//! message. A mini program that has an `EncodingAESKey` here takes nothing unencrypted:
//! otherwise whoever has seen one `signature` could write messages of his own.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::envelope::{self, BodyFormat};
use weappd_wechat::lenient::mend_json;
use weappd_wechat::message::{self, MessageCodec};

use crate::event_rule::EventRule;
use crate::number_text;
use crate::xml;

const HOUR: Duration = Duration::from_hours(1);

/// One mini program's side of message push.
#[derive(Clone, Debug)]
pub(crate) struct PushReader {
    pub(crate) appid: String,
    pub(crate) token: Secret,
    /// With it, messages must be encrypted.
    pub(crate) mailbox: Option<MessageCodec>,
    /// The path of a further push configuration; none for the mini program's own.
    pub(crate) path: Option<String>,
    /// Whether deeds are answered once they are on the disk.
    pub(crate) is_stored_enough: bool,
}

/// What stands in the query of a push.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PushQuery {
    pub(crate) signature: String,
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) msg_signature: String,
    pub(crate) encrypt_type: String,
    pub(crate) echostr: String,
}

/// A genuine push.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedPush {
    pub(crate) appid: String,
    /// How it was written; an answer should be the same.
    pub(crate) format: BodyFormat,
    /// Encrypts the answer, if the push was encrypted.
    pub(crate) mailbox: Option<MessageCodec>,
    pub(crate) openid: Option<String>,
    /// `MsgType`, or `event/` and the `Event`.
    pub(crate) kind: String,
    /// What a repeated push has in common with the first.
    pub(crate) key: String,
    /// The message as JSON text.
    pub(crate) body: String,
    /// What is known of the event, if it is one.
    pub(crate) rule: Option<EventRule>,
    /// Whether it came by a push configuration of mini games: 3 seconds, plain answers.
    pub(crate) is_game: bool,
    /// Whether a deed is answered once it is on the disk.
    pub(crate) is_stored_enough: bool,
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    #[error("the signature is wrong: compare the message Token here with WeChat's console")]
    Signature,
    #[error(
        "messages must be encrypted, because an encoding_aes_key is set: choose safe mode in \
         WeChat's console, or take the key away here"
    )]
    NotEncrypted,
    #[error("the message is encrypted: set the encoding_aes_key of WeChat's console here")]
    NoKey,
    #[error(
        "the message does not decrypt for this mini program: compare the EncodingAESKey and AppID"
    )]
    Decrypt,
    #[error("the body is neither a JSON object nor XML")]
    NoMessage,
    #[error(
        "the timestamp is {hours} hours off this machine's clock: an old push sent again, or the \
         clock is wrong (compare it with an NTP server; gateway.inbox.signature_hours says how \
         much is allowed)"
    )]
    OutOfTime { hours: u64 },
}

/// How far from now the `timestamp` of a push may be: whoever has seen one signature of plain
/// mode could write messages with it for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushTimeRange {
    /// This machine's time.
    pub(crate) now: UnixSecs,
    /// None: any time will do.
    pub(crate) hours: Option<u32>,
}

impl PushTimeRange {
    #[cfg(any(test, fuzzing))]
    pub(crate) const ANY: Self = Self {
        now: UnixSecs::new(0),
        hours: None,
    };

    fn check(self, timestamp: &str) -> Result<(), PushError> {
        let Some(most) = self.hours.map(|hours| HOUR * hours) else {
            return Ok(());
        };
        let at = UnixSecs::new(timestamp.parse().unwrap_or(0));
        let off = self.now.distance(at);
        if off <= most {
            return Ok(());
        }
        Err(PushError::OutOfTime {
            hours: off.as_secs() / HOUR.as_secs(),
        })
    }
}

/// Whether a body only asks if anybody is there (微信云托管 does when a path is set up).
pub(crate) fn is_probe(body: &str) -> bool {
    let action = |fields: &Map<String, Value>| {
        fields.get("action").and_then(Value::as_str) == Some("CheckContainerPath")
    };
    body.len() < 256 && fields_of(body).is_some_and(|(fields, _)| action(&fields))
}

/// The reader whose token signs a URL check.
pub(crate) fn check_url<'a>(
    mut readers: impl Iterator<Item = &'a PushReader>,
    stamp: &PushQuery,
) -> Option<&'a PushReader> {
    readers.find(|reader| reader.signed(stamp))
}

/// Opens a push with the first reader it is genuine for.
pub(crate) fn open<'a>(
    readers: impl Iterator<Item = &'a PushReader>,
    stamp: &PushQuery,
    body: &str,
    times: PushTimeRange,
) -> Result<VerifiedPush, PushError> {
    let mut worst = PushError::Signature;
    for reader in readers {
        match reader.open(stamp, body) {
            // Told only to who knows the Token.
            Ok(push) => return times.check(&stamp.timestamp).map(|()| push),
            Err(PushError::Signature) => {}
            Err(fake) => worst = fake,
        }
    }
    Err(worst)
}

impl PushReader {
    fn signed(&self, stamp: &PushQuery) -> bool {
        message::is_signed(
            &self.token,
            &stamp.timestamp,
            &stamp.nonce,
            &stamp.signature,
        )
    }

    fn open(&self, stamp: &PushQuery, body: &str) -> Result<VerifiedPush, PushError> {
        let is_encrypted = stamp.encrypt_type.eq_ignore_ascii_case("aes")
            || !stamp.msg_signature.is_empty()
            || envelope::read(body).is_ok();
        match &self.mailbox {
            Some(mailbox) if is_encrypted => {
                let given = message::PushSignature {
                    timestamp: &stamp.timestamp,
                    nonce: &stamp.nonce,
                    msg_signature: &stamp.msg_signature,
                };
                let plain = mailbox.open(given, body).map_err(|error| match error {
                    weappd_wechat::Error::MessageSignature => PushError::Signature,
                    weappd_wechat::Error::Envelope => PushError::NoMessage,
                    _ => PushError::Decrypt,
                })?;
                // Answered as it came: the envelope's format, not the message's.
                let format = envelope::read(body).map(|envelope| envelope.format);
                let push = self.read(&plain)?;
                Ok(VerifiedPush {
                    mailbox: Some(mailbox.clone()),
                    format: format.unwrap_or(push.format),
                    ..push
                })
            }
            Some(_) if self.signed(stamp) => Err(PushError::NotEncrypted),
            None if self.signed(stamp) => match self.read(body) {
                Ok(push) if push.kind.is_empty() && is_encrypted => Err(PushError::NoKey),
                read => read,
            },
            _ => Err(PushError::Signature),
        }
    }

    fn read(&self, text: &str) -> Result<VerifiedPush, PushError> {
        let (mut fields, format) = fields_of(text).ok_or(PushError::NoMessage)?;
        // Compatible mode sends the message twice, once encrypted.
        let sent_twice = fields.shift_remove("Encrypt").is_some();
        let body = if format == BodyFormat::Json && !sent_twice {
            // As it came, but for what no JSON reader takes: a number too large for any type
            // of ours stays what it is.
            mended(text).into_owned()
        } else {
            Value::Object(fields.clone()).to_string()
        };
        let field = |name: &str| match fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let (msg_type, event, msg_id) = (field("MsgType"), field("Event"), field("MsgId"));
        let is_event = msg_type.eq_ignore_ascii_case("event");
        let rule = EventRule::of(&event).filter(|_| is_event);
        let from = field("FromUserName");
        let openid = match &rule {
            Some(rule) => rule.user(&fields),
            None => Some(from.clone()).filter(|openid| !openid.is_empty()),
        };
        let documented = rule.and_then(|rule| rule.key(&event, &fields));
        let key = if let Some(key) = documented {
            key
        } else if is_event || msg_id.is_empty() {
            // Two events of one second differ somewhere; a repeated push only in how often it
            // came.
            let at = field("CreateTime");
            let digest = match fields.shift_remove("RetryTimes") {
                Some(_) => Sha256::digest(Value::Object(fields).to_string()),
                None => Sha256::digest(&body),
            };
            let digest = hex::encode(digest);
            let digest = digest.get(..32).unwrap_or_default();
            format!("{from} {at} {event} {digest}")
        } else {
            // Two users may have messages of one number.
            format!("MsgId {msg_id} {from}")
        };
        Ok(VerifiedPush {
            appid: self.appid.clone(),
            format,
            mailbox: None,
            openid,
            kind: if is_event {
                format!("event/{event}")
            } else {
                msg_type
            },
            key,
            body,
            rule,
            is_game: self.path.is_some(),
            is_stored_enough: self.is_stored_enough,
        })
    }
}

/// The content type is not to be believed: JSON arrives as `text/xml` [Wafer 2].
fn fields_of(text: &str) -> Option<(Map<String, Value>, BodyFormat)> {
    if trimmed(text).starts_with('{') {
        let fields = serde_json::from_str(&mended(text)).ok()?;
        return Some((fields, BodyFormat::Json));
    }
    let mut fields = xml::to_json(trimmed(text))?;
    number_text::as_wechat_writes(&mut fields);
    Some((fields, BodyFormat::Xml))
}

/// What users write stands in WeChat's JSON as it is, raw control characters and halves of
/// emoji too.
fn mended(text: &str) -> Cow<'_, str> {
    mend_json(trimmed(text))
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weappd_wechat::message::MessageKey;

    use super::*;

    const ANY: PushTimeRange = PushTimeRange::ANY;

    fn reader(appid: &str, token: &str, key: Option<&str>) -> PushReader {
        let mailbox = key.map(|key| MessageCodec {
            appid: appid.to_owned(),
            token: Secret::new(token),
            key: MessageKey::parse(&Secret::new(key)).expect("a key"),
        });
        PushReader {
            appid: appid.to_owned(),
            token: Secret::new(token),
            mailbox,
            path: None,
            is_stored_enough: false,
        }
    }

    fn signed(token: &str) -> PushQuery {
        let (timestamp, nonce) = ("1".to_owned(), "2".to_owned());
        PushQuery {
            signature: message::signature(&Secret::new(token), &timestamp, &nonce),
            timestamp,
            nonce,
            ..PushQuery::default()
        }
    }

    fn key_of(body: &str) -> String {
        let one = [reader("wx1", "t", None)];
        open(one.iter(), &signed("t"), body, ANY).expect(body).key
    }

    #[test]
    fn a_plain_push_goes_to_the_app_whose_token_signs_it() {
        let readers = [reader("wx1", "t1", None), reader("wx2", "t2", None)];
        let body = r#"{"MsgType":"text","FromUserName":"o1","MsgId":18446744073709551616}"#;
        let push = open(readers.iter(), &signed("t2"), body, ANY).expect("genuine");
        assert_eq!((push.appid.as_str(), push.body.as_str()), ("wx2", body));
        assert_eq!(push.openid.as_deref(), Some("o1"));
        let fake = open(readers.iter(), &signed("t3"), body, ANY).expect_err("a fake");
        assert_eq!(fake, PushError::Signature);
    }

    #[test]
    fn with_a_key_nothing_unencrypted_is_taken() {
        let readers = [reader("wx1", "t", Some(&"A".repeat(43)))];
        let body = r#"{"MsgType":"text"}"#;
        let fake = open(readers.iter(), &signed("t"), body, ANY).expect_err("a downgrade");
        assert_eq!(fake, PushError::NotEncrypted);
        // `signature` is right, but an encrypted body needs `msg_signature`.
        let body = r#"{"ToUserName":"gh","Encrypt":"QUFBQQ=="}"#;
        let fake = open(readers.iter(), &signed("t"), body, ANY).expect_err("a forgery");
        assert_eq!(fake, PushError::Signature);
    }

    #[test]
    fn without_a_key_compatible_mode_reads_what_is_plain() {
        let readers = [reader("wx1", "t", None)];
        let body = r#"{"MsgType":"text","Content":"hi","MsgId":7,"Encrypt":"QUFB"}"#;
        let push = open(readers.iter(), &signed("t"), body, ANY).expect("genuine");
        assert_eq!(push.body, r#"{"MsgType":"text","Content":"hi","MsgId":7}"#);
        let safe = r#"{"ToUserName":"gh","Encrypt":"QUFB"}"#;
        let fake = open(readers.iter(), &signed("t"), safe, ANY).expect_err("unreadable");
        assert_eq!(fake, PushError::NoKey);
    }

    #[test]
    fn a_repeated_push_has_the_same_key_and_another_has_not() {
        let text = r#"{"MsgType":"text","FromUserName":"o","CreateTime":5,"MsgId":"9"}"#;
        assert_eq!(key_of(text), "MsgId 9 o");
        let xml =
            "<xml><MsgType>text</MsgType><FromUserName>o</FromUserName><MsgId>9</MsgId></xml>";
        assert_eq!(key_of(xml), "MsgId 9 o");
        let event = |trace: &str| {
            format!(
                r#"{{"MsgType":"event","Event":"some_event","FromUserName":"o","CreateTime":5,"trace_id":"{trace}"}}"#
            )
        };
        assert_eq!(key_of(&event("a")), key_of(&event("a")));
        assert_ne!(key_of(&event("a")), key_of(&event("b")));
        assert!(key_of(&event("a")).starts_with("o 5 some_event "));
    }

    #[test]
    fn probes_are_known() {
        assert!(is_probe(r#"{"action":"CheckContainerPath"}"#));
        assert!(is_probe("<xml><action>CheckContainerPath</action></xml>"));
        assert!(!is_probe(r#"{"action":"other"}"#) && !is_probe("CheckContainerPath"));
    }

    proptest! {
        #[test]
        fn no_push_panics(body: String, nonce: String, msg_signature: String) {
            let readers = [reader("wx1", "t", None), reader("wx2", "t", Some(&"A".repeat(43)))];
            let stamp = PushQuery { msg_signature, ..signed("t") };
            drop(open(readers.iter(), &stamp, &body, ANY));
            drop(open(readers.iter(), &PushQuery { nonce, ..stamp }, &body, ANY));
            prop_assert!(!is_probe(&body) || body.contains("CheckContainerPath"));
        }
    }
}
