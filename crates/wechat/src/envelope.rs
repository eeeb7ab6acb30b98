//! The wrapping of an encrypted message: JSON or XML, as set in WeChat's console.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Value, json};
use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::lenient::lenient_json;

/// How a pushed body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// `{"ToUserName":"gh_...","Encrypt":"..."}`
    Json,
    /// `<xml><ToUserName/><Encrypt/></xml>`
    Xml,
}

/// A pushed body, still encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushEnvelope {
    /// How it was written; the answer should be the same.
    pub format: BodyFormat,
    /// Whom it is for: the mini program's original id (`gh_...`).
    pub to_user: Option<String>,
    /// The encrypted message.
    pub encrypt: String,
}

/// Reads a pushed body of either format. WeChat's content type is not to be believed: JSON
/// arrives as `text/xml`, so the first character decides.
pub fn read(body: &str) -> Result<PushEnvelope, Error> {
    let body = body.trim_start_matches('\u{feff}').trim_start();
    if body.starts_with('{') {
        read_json(body)
    } else {
        read_xml(body)
    }
}

fn read_json(body: &str) -> Result<PushEnvelope, Error> {
    // Compatible mode shows the message too, as its user wrote it.
    let fields = lenient_json(body).map_err(|_| Error::Envelope)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(PushEnvelope {
        format: BodyFormat::Json,
        to_user: text("ToUserName"),
        encrypt: text("Encrypt").ok_or(Error::Envelope)?,
    })
}

/// Reads the texts of the root's children. Entities are not expanded: none is needed in
/// an id or in base64.
fn read_xml(body: &str) -> Result<PushEnvelope, Error> {
    let mut reader = Reader::from_str(body);
    let mut path: Vec<String> = Vec::new();
    let (mut to_user, mut encrypt) = (String::new(), String::new());
    loop {
        let event = reader.read_event().map_err(|_| Error::Envelope)?;
        let text = match event {
            Event::Start(tag) => {
                // Deeper than any message goes: somebody builds a tower.
                if path.len() >= 16 {
                    return Err(Error::Envelope);
                }
                path.push(tag.name().as_ref().to_owned());
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::Eof => break,
            _ => continue,
        };
        match path.as_slice() {
            [_, name] if name == "ToUserName" => to_user.push_str(&text),
            [_, name] if name == "Encrypt" => encrypt.push_str(text.trim()),
            _ => {}
        }
    }
    if encrypt.is_empty() {
        return Err(Error::Envelope);
    }
    Ok(PushEnvelope {
        format: BodyFormat::Xml,
        to_user: Some(to_user).filter(|text| !text.is_empty()),
        encrypt,
    })
}

/// Writes an encrypted answer.
pub(crate) fn write(
    format: BodyFormat,
    encrypt: &str,
    signature: &str,
    (timestamp, nonce): (UnixSecs, &str),
) -> String {
    match format {
        BodyFormat::Json => json!({
            "Encrypt": encrypt,
            "MsgSignature": signature,
            "TimeStamp": timestamp.get(),
            "Nonce": nonce,
        })
        .to_string(),
        BodyFormat::Xml => format!(
            "<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt>\
             <MsgSignature><![CDATA[{signature}]]></MsgSignature>\
             <TimeStamp>{timestamp}</TimeStamp>\
             <Nonce><![CDATA[{}]]></Nonce></xml>",
            // The one text here that came from outside must not end its own section.
            nonce.replace("]]>", "]]]]><![CDATA[>")
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_read_whatever_else_it_holds() {
        let read = read("\u{feff} {\"ToUserName\":\"gh_1\",\"Encrypt\":\"QQ==\",\"MsgId\":1}");
        assert_eq!(
            read.ok(),
            Some(PushEnvelope {
                format: BodyFormat::Json,
                to_user: Some("gh_1".to_owned()),
                encrypt: "QQ==".to_owned(),
            })
        );
    }

    #[test]
    fn xml_is_read_with_and_without_cdata() {
        for body in [
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[QQ==]]></Encrypt></xml>",
            "<?xml version=\"1.0\"?>\n<xml>\n <Encrypt>\n  QQ==\n </Encrypt>\n <ToUserName>gh_1</ToUserName>\n</xml>\n",
        ] {
            let read = read(body).expect(body);
            assert_eq!(
                (read.format, read.encrypt.as_str()),
                (BodyFormat::Xml, "QQ==")
            );
            assert_eq!(read.to_user.as_deref(), Some("gh_1"));
        }
    }

    #[test]
    fn only_the_roots_own_encrypt_counts() {
        for body in [
            "",
            "plain",
            "{}",
            r#"{"Encrypt":7}"#,
            "<Encrypt>QQ==</Encrypt>",
            "<xml><a><Encrypt>QQ==</Encrypt></a></xml>",
            "<xml><Encrypt></Encrypt></xml>",
            "<xml><Encrypt>QQ==</Wrong></xml>",
        ] {
            assert!(matches!(read(body), Err(Error::Envelope)), "{body}");
        }
    }

    #[test]
    fn a_tower_of_tags_is_not_climbed() {
        let body = format!("{}x", "<a>".repeat(100_000));
        assert!(matches!(read(&body), Err(Error::Envelope)));
    }

    proptest! {
        #[test]
        fn no_body_panics(body: String) {
            drop(read(&body));
            drop(read(&format!("<xml>{body}</xml>")));
            drop(read(&format!("{{{body}}}")));
        }
    }
}
