//! XML messages as JSON, the way WeChat itself writes them, and answers the other way.
//!
//! A text in CDATA is a text; a bare whole number is a number; an element with children is
//! an object; a name that repeats becomes a list. Names are kept.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};
use serde_json::{Map, Value};

/// Deeper than any message goes: somebody builds a tower.
const MAX_DEPTH: usize = 16;

/// An element on the way down.
#[derive(Default)]
struct OpenElement {
    name: String,
    fields: Map<String, Value>,
    text: String,
    is_literal: bool,
}

/// The root's children as a JSON object; none if it is no such XML.
pub(crate) fn to_json(text: &str) -> Option<Map<String, Value>> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<OpenElement> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                if path.len() >= MAX_DEPTH || root.is_some() {
                    return None;
                }
                path.push(open(tag.name().as_ref()));
            }
            Event::Empty(tag) => {
                let name = tag.name().as_ref().to_owned();
                put(&mut path.last_mut()?.fields, name, Value::from(""));
            }
            Event::Text(text) => add(&mut path, &text.xml10_content(), false)?,
            Event::CData(text) => add(&mut path, &text.xml10_content(), true)?,
            Event::GeneralRef(entity) => add(&mut path, &resolve(&entity)?, true)?,
            Event::End(_) => {
                let done = path.pop()?;
                match path.last_mut() {
                    Some(parent) => {
                        let name = done.name.clone();
                        put(&mut parent.fields, name, value(done));
                    }
                    None => root = Some(done.fields),
                }
            }
            // A document type could define entities; WeChat sends none.
            Event::DocType(_) => return None,
            Event::Eof => return root.filter(|_| path.is_empty()),
            _ => {}
        }
    }
}

fn open(name: &str) -> OpenElement {
    OpenElement {
        name: name.to_owned(),
        ..OpenElement::default()
    }
}

/// Adds text to the innermost element; outside of all only space may stand.
fn add(path: &mut [OpenElement], text: &str, is_literal: bool) -> Option<()> {
    match path.last_mut() {
        Some(open) => {
            open.text.push_str(text);
            open.is_literal |= is_literal;
        }
        None if text
            .trim_matches(['\u{feff}', ' ', '\n', '\r', '\t'])
            .is_empty() => {}
        None => return None,
    }
    Some(())
}

fn resolve(entity: &BytesRef<'_>) -> Option<String> {
    if let Some(letter) = entity.resolve_char_ref().ok()? {
        return Some(letter.to_string());
    }
    let name: &str = entity;
    resolve_xml_entity(name).map(str::to_owned)
}

fn value(done: OpenElement) -> Value {
    if !done.fields.is_empty() {
        return Value::Object(done.fields);
    }
    if done.is_literal {
        return Value::String(done.text);
    }
    let text = done.text.trim();
    match text.parse::<i64>() {
        // Only what is written as JSON writes it: no +5, no 007.
        Ok(number) if number.to_string() == text => Value::from(number),
        _ => Value::from(text),
    }
}

/// A name that comes again becomes a list.
fn put(fields: &mut Map<String, Value>, name: String, value: Value) {
    match fields.get_mut(&name) {
        Some(Value::Array(list)) => list.push(value),
        Some(first) => *first = Value::from(vec![first.take(), value]),
        None => {
            fields.insert(name, value);
        }
    }
}

/// A JSON object as WeChat's XML.
pub(crate) fn from_json(fields: &Map<String, Value>) -> String {
    let mut text = String::from("<xml>");
    write_fields(&mut text, fields);
    text.push_str("</xml>");
    text
}

fn write_fields(text: &mut String, fields: &Map<String, Value>) {
    for (name, value) in fields.iter().filter(|(name, _)| is_name(name)) {
        match value {
            Value::Array(list) => {
                for value in list {
                    write_element(text, name, value);
                }
            }
            value => write_element(text, name, value),
        }
    }
}

fn write_element(text: &mut String, name: &str, value: &Value) {
    text.push('<');
    text.push_str(name);
    text.push('>');
    match value {
        Value::Object(fields) => write_fields(text, fields),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::Bool(yes) => text.push_str(if *yes { "true" } else { "false" }),
        Value::String(value) => {
            text.push_str("<![CDATA[");
            text.push_str(&value.replace("]]>", "]]]]><![CDATA[>"));
            text.push_str("]]>");
        }
        // A list in a list has no name to go by.
        Value::Array(_) | Value::Null => {}
    }
    text.push_str("</");
    text.push_str(name);
    text.push('>');
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<Value> {
        to_json(text).map(Value::Object)
    }

    #[test]
    fn a_message_reads_as_in_json_mode() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<xml>\n  <ToUserName><![CDATA[gh_1]]></ToUserName>\n  \
            <CreateTime>1348831860</CreateTime>\n  <MsgType><![CDATA[text]]></MsgType>\n  \
            <Content><![CDATA[1 < 2 & ]]]]><![CDATA[> <b>]]></Content>\n  \
            <MsgId>1234567890123456789</MsgId>\n  <Nothing/><Blank></Blank>\n</xml>\n";
        assert_eq!(
            read(text),
            Some(json!({
                "ToUserName": "gh_1",
                "CreateTime": 1_348_831_860,
                "MsgType": "text",
                "Content": "1 < 2 & ]]> <b>",
                "MsgId": 1_234_567_890_123_456_789_i64,
                "Nothing": "",
                "Blank": "",
            }))
        );
    }

    #[test]
    fn one_list_item_is_an_object_and_two_are_a_list() {
        let one = "<xml><E><List><PopupScene>0</PopupScene></List></E></xml>";
        assert_eq!(read(one), Some(json!({"E": {"List": {"PopupScene": 0}}})));
        let two =
            "<xml><E><List><A>1</A></List><List><A>2</A></List><List><A>x</A></List></E></xml>";
        assert_eq!(
            read(two),
            Some(json!({"E": {"List": [{"A": 1}, {"A": 2}, {"A": "x"}]}}))
        );
    }

    #[test]
    fn numbers_are_only_what_json_writes_so() {
        let text = "<xml><A>007</A><B>+5</B><C>99999999999999999999</C><D>-3</D><E>1.5</E>\
            <F><![CDATA[12]]></F><G>a&amp;b&#x4E2D;</G></xml>";
        assert_eq!(
            read(text),
            Some(
                json!({"A": "007", "B": "+5", "C": "99999999999999999999", "D": -3, "E": "1.5",
                "F": "12", "G": "a&b中"})
            )
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let tower = "<a>".repeat(20) + &"</a>".repeat(20);
        for bad in [
            "",
            "hello",
            "<xml>",
            "<xml></xml><xml></xml>",
            "<xml><a></b></xml>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><xml><A>&a;</A></xml>",
            "<xml><A>&unknown;</A></xml>",
            &tower,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_are_written_and_read_again() {
        let answer = json!({"ToUserName": "o1", "CreateTime": 5, "MsgType": "]]>", "L": [{"A": 1}, {"A": 2}]});
        let text = from_json(answer.as_object().expect("an object"));
        assert_eq!(read(&text), Some(answer));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[<>/!a-c\\[\\]CDAT&;# ]{0,60}", any: String) {
            drop(to_json(&text));
            drop(to_json(&any));
        }

        #[test]
        fn texts_survive(text in "[^\\x00-\\x1f\\x7f-\\x9f\u{fffe}\u{ffff}]{0,40}") {
            let fields = json!({"A": text});
            let written = from_json(fields.as_object().expect("an object"));
            prop_assert_eq!(read(&written), Some(fields));
        }
    }
}
