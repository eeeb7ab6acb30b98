//! The grammar of text frames on a tunnel: `type [":" content]`, split at the first colon.
//!
//! What phones send is read by [`FromPhone::parse`]; what phones receive is made here as
//! whole frames, once, however many phones it goes to.

use bytes::Bytes;

use crate::frame;

/// A packet a phone sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromPhone<'a> {
    /// Wants a `pong` soon, or takes the tunnel for dead.
    Ping,
    /// For the business server; the content goes on as it is.
    Message(&'a str),
    /// The phone leaves for good.
    Close,
    /// Anything else, which the grammar says to ignore.
    Unknown,
}

impl<'a> FromPhone<'a> {
    /// Reads one packet. Every text is a packet of some kind.
    pub(crate) fn parse(text: &'a str) -> Self {
        let (kind, content) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "ping" => Self::Ping,
            "message" => Self::Message(content),
            "close" => Self::Close,
            _ => Self::Unknown,
        }
    }

    /// What the packet is called in the sequence diagram.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Message(_) => "message",
            Self::Close => "close",
            Self::Unknown => "unknown",
        }
    }
}

/// `pong`, as a frame.
pub(crate) const PONG: Bytes = Bytes::from_static(b"\x81\x04pong");

/// `close`, as a frame: the phone shall not come back.
pub(crate) const CLOSE: Bytes = Bytes::from_static(b"\x81\x05close");

/// `timeout:<seconds>`, as a frame. Sent once, right after opening: a second one makes the
/// old client reconnect for nothing.
pub(crate) fn timeout(seconds: u32) -> Bytes {
    frame::text(b"timeout:", seconds.to_string().as_bytes())
}

/// `message:<content>`, as a frame to be shared by all its receivers.
pub(crate) fn message(content: &str) -> Bytes {
    frame::text(b"message:", content.as_bytes())
}

/// Whether a phone can take `content`: the old client throws inside the app on anything but
/// a JSON object.
pub(crate) fn is_message_content(content: &str) -> bool {
    let opens = content
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('{');
    opens && serde_json::from_str::<serde::de::IgnoredAny>(content).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_of_the_old_client() {
        assert_eq!(FromPhone::parse("ping"), FromPhone::Ping);
        assert_eq!(FromPhone::parse("close"), FromPhone::Close);
        let message = r#"message:{"type":"speak","content":{"word":"a:b"}}"#;
        assert_eq!(
            FromPhone::parse(message),
            FromPhone::Message(r#"{"type":"speak","content":{"word":"a:b"}}"#)
        );
        assert_eq!(FromPhone::parse("message:"), FromPhone::Message(""));
        assert_eq!(FromPhone::parse("message"), FromPhone::Message(""));
        for other in ["", ":", "Ping", " ping", "timeout:3", "pong", "信道:x"] {
            assert_eq!(FromPhone::parse(other), FromPhone::Unknown, "{other}");
        }
    }

    #[test]
    fn frames_for_phones() {
        assert_eq!(&timeout(15)[..], b"\x81\x0atimeout:15");
        assert_eq!(&message("{}")[..], b"\x81\x0amessage:{}");
        assert_eq!(&frame::text(b"pong", b"")[..], &PONG[..]);
        assert_eq!(&frame::text(b"close", b"")[..], &CLOSE[..]);
    }

    #[test]
    fn only_json_objects_reach_phones() {
        for good in [
            "{}",
            " {\"type\":\"speak\"}\n",
            r#"{"type":"a","content":[1,{"b":null}]}"#,
        ] {
            assert!(is_message_content(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "[]",
            "1",
            "\"{}\"",
            "{",
            "{}{}",
            "{'a':1}",
            "undefined",
        ] {
            assert!(!is_message_content(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_message_goes_on_as_it_came(content in ".*") {
            let text = format!("message:{content}");
            prop_assert_eq!(FromPhone::parse(&text), FromPhone::Message(&content));
        }

        #[test]
        fn no_text_upsets_the_grammar(text in ".*") {
            let name = FromPhone::parse(&text).name();
            prop_assert!(!name.is_empty());
            let _ = is_message_content(&text);
        }
    }
}
