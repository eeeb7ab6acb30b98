//! JSON as WeChat writes it, which is not always JSON.
//!
//! Users' names and messages are copied between quotes as they are: with raw control
//! characters (a nickname that begins with the byte 0x14, a message with a tab or a line
//! break), with half of an emoji that somebody cut (`"\ud83d"`), with a lone backslash. A
//! strict reader refuses the whole text, and its user never logs in.

use std::borrow::Cow;

use serde_json::Value;

/// Reads JSON whose strings may hold what JSON forbids. What is JSON is read as it is.
///
/// Inside strings a raw control character is kept as that character, half of a surrogate
/// pair becomes U+FFFD, and a backslash that begins no escape stands for itself. A byte order
/// mark in front is dropped. Everything else must be JSON.
pub fn lenient_json(text: &str) -> Result<Value, serde_json::Error> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&mend_json(text)))
}

/// The same text with its strings written as JSON demands, for a reader of one's own.
pub fn mend_json(text: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    // Everything before this place stands in `mended` already.
    let mut kept = 0;
    let mut in_string = false;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at).copied() {
        let (len, instead) = match byte {
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            b'\\' if in_string => escape(text.get(at..).unwrap_or_default()),
            0..0x20 if in_string => (1, Some(format!("\\u{byte:04x}"))),
            _ => (1, None),
        };
        if let Some(instead) = instead {
            mended.push_str(text.get(kept..at).unwrap_or_default());
            mended.push_str(&instead);
            kept = at + len;
        }
        at += len;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(text.get(kept..).unwrap_or_default());
    Cow::Owned(mended)
}

/// How long the escape at the front of `text` is, and what must stand in its place.
fn escape(text: &str) -> (usize, Option<String>) {
    match text.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (2, None),
        Some(b'u') => match unit(text) {
            Some(0xD800..0xDC00) => match text.get(6..).and_then(unit) {
                Some(0xDC00..0xE000) => (12, None),
                _ => (6, Some("\\ufffd".to_owned())),
            },
            Some(0xDC00..0xE000) => (6, Some("\\ufffd".to_owned())),
            Some(_) => (6, None),
            None => (1, Some("\\\\".to_owned())),
        },
        _ => (1, Some("\\\\".to_owned())),
    }
}

/// The UTF-16 unit that `\uXXXX` at the front of `text` stands for.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|c| c.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nick(text: &str) -> Value {
        let read = lenient_json(&format!(r#"{{"nickName":"{text}","gender":1}}"#));
        let read = read.unwrap_or_else(|err| panic!("{text:?}: {err}"));
        assert_eq!(read["gender"], 1);
        read["nickName"].clone()
    }

    #[test]
    fn what_people_put_into_their_names_is_read() {
        for (written, read) in [
            ("\u{14}三木", "\u{14}三木"),
            ("a\tb\nc\r\u{0}\u{1f}", "a\tb\nc\r\u{0}\u{1f}"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ude00", "\u{fffd}"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD83D\uDE00\uD83D", "😀\u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"C:\Windows", r"C:\Windows"),
            (r"\u12", r"\u12"),
            (r"\u+123", r"\u+123"),
            (r"it\'s", r"it\'s"),
            ("\\\u{14}", "\\\u{14}"),
            (r#"\"\\\/"#, r#""\/"#),
            ("\u{7f}\u{2028}木", "\u{7f}\u{2028}木"),
        ] {
            assert_eq!(nick(written), read, "{written:?}");
        }
    }

    #[test]
    fn names_of_fields_are_read_alike_and_white_space_between_them_stays() {
        let read = lenient_json("\u{feff}{\n\t\"a\u{1}\\ud800\": \"b\"\r}");
        assert_eq!(read.ok(), Some(json!({"a\u{1}\u{fffd}": "b"})));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in [
            "",
            "nonsense",
            "{",
            r#"{"a":"b"#,
            r#"{"a":"b\"}"#,
            "{\u{14}}",
            r"{'a':1}",
            r#"{"a":1} {"b":2}"#,
        ] {
            assert!(lenient_json(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn json_is_read_as_it_is(name in ".*", value in ".*") {
            let whole = json!({name: [value]});
            let text = whole.to_string();
            prop_assert!(matches!(mend_json(&text), Cow::Borrowed(_)), "{}", text);
            prop_assert_eq!(lenient_json(&text).ok(), Some(whole));
        }

        #[test]
        fn any_string_without_quotes_is_read(
            text in "([^\"\\\\]|\\\\[^\"\\\\]|\\\\u[dD][8-9a-fA-F][0-9a-f]{2}|\\\\\\\\)*",
        ) {
            // A backslash at the very end would take the closing quote for its own.
            let read = lenient_json(&format!("\"{text}\""));
            prop_assert!(read.as_ref().is_ok_and(Value::is_string), "{:?}", read);
        }

        #[test]
        fn no_text_panics_and_mending_mends_once(text in "(\\\\|u|d8|\"|[\u{0}-\u{30}]|.|\\{|\\})*") {
            drop(lenient_json(&text));
            let once = mend_json(&text);
            prop_assert_eq!(&mend_json(&once), &once);
        }
    }
}
