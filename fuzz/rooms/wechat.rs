//! What must hold for any input to this room's parsers: the bodies of the fuzz targets,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
pub(crate) mod feed;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::envelope::BodyFormat;
use crate::error::Error;
use crate::message::{MessageCodec, MessageKey, PushSignature};
use crate::{api_sign, client, envelope, errcode, lenient_base64, message, open_data, wire};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 4] = [
    ("wechat_open_data", open),
    ("wechat_message", push),
    ("wechat_wire", answer),
    ("wechat_api_sign", api_sign::fuzzing::talk),
];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// Percent-encoding taken off; what is none stays.
fn plain_percent(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, later)) = rest.split_first() {
        let digits = later.get(..2).and_then(|two| str::from_utf8(two).ok());
        let is_hex = |two: &&str| two.bytes().all(|c| c.is_ascii_hexdigit());
        if let Some(two) = digits.filter(is_hex).filter(|_| *first == b'%') {
            bytes.push(u8::from_str_radix(two, 16).expect("hex"));
            rest = &later[2..];
        } else {
            bytes.push(*first);
            rest = later;
        }
    }
    bytes
}

/// Base64 as the room promises to read it, written down a second time.
fn plain_base64(text: &str) -> Option<Vec<u8>> {
    let unwrapped = |text: &str| String::from_utf8(plain_percent(text)).ok();
    let text = unwrapped(&unwrapped(text)?)?;
    let letters: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C))
        .map(|byte| if byte == b' ' { b'+' } else { byte })
        .collect();
    let count = letters.iter().take_while(|byte| **byte != b'=').count();
    let (letters, pads) = letters.split_at(count);
    let room = if count % 4 == 0 { 0 } else { 4 - count % 4 };
    if count % 4 == 1 || pads.len() > room || pads.iter().any(|byte| *byte != b'=') {
        return None;
    }
    let mut bits = 0u32;
    let mut held = 0;
    let mut bytes = Vec::new();
    for letter in letters {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

/// Decryption with the padding taken off by hand.
fn plain_decrypt(key: &str, data: &str, iv: Option<&str>) -> Option<String> {
    let key: [u8; 16] = plain_base64(key)?.try_into().ok()?;
    let iv: [u8; 16] = match iv {
        Some(iv) => plain_base64(iv)?.try_into().ok()?,
        None => key,
    };
    let mut plain = cbc::Decryptor::<aes::Aes128>::new(&key.into(), &iv.into())
        .decrypt_padded_vec::<NoPadding>(&plain_base64(data)?)
        .ok()?;
    let pad = *plain.last()?;
    let start = plain.len().checked_sub(usize::from(pad))?;
    if pad == 0 || pad > 16 || plain[start..].iter().any(|byte| *byte != pad) {
        return None;
    }
    plain.truncate(start);
    String::from_utf8(plain).ok()
}

/// Open data: what was sealed opens for its app only; anything else opens as the plain
/// implementation says, and without a fitting watermark not at all.
fn open(data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.flag() {
        let (key, text, iv) = (feed.text(), feed.text(), feed.text());
        let iv = Some(iv).filter(|iv| iv != "-");
        assert_eq!(
            lenient_base64::decode(&text),
            plain_base64(&text),
            "{text:?}"
        );
        let secret = Secret::new(key.as_str());
        let opened = open_data::decrypt(&secret, &text, iv.as_deref());
        assert_eq!(opened.ok(), plain_decrypt(&key, &text, iv.as_deref()));
        return;
    }
    let (key, iv, way) = (feed.array::<16>(), feed.array::<16>(), feed.below(8));
    let (appid, mut plain) = (feed.text(), feed.text());
    if way < 4 {
        plain =
            json!({"nickName": plain, "watermark": {"appid": appid, "timestamp": 1}}).to_string();
    }
    let key = open_data::session_key_text(key);
    let mut sealed = open_data::encrypt(&key, &plain, iv).expect("it encrypts");
    let iv = open_data::iv_text(iv);
    if way == 1 {
        sealed = sealed.replace('+', " ").replace('=', "");
        sealed.insert_str(sealed.len() / 2, "\r\n");
    }
    let back = open_data::decrypt(&key, &sealed, Some(&iv));
    assert_eq!(back.ok().as_deref(), Some(plain.as_str()));
    let opened = open_data::open(&appid, &key, &sealed, Some(&iv));
    match (&opened, way) {
        (Ok(data), _) => assert_eq!(data["watermark"]["appid"], appid.as_str()),
        (Err(_), 0..4) => panic!("what was sealed does not open: {opened:?}"),
        (Err(error), _) => assert!(matches!(error, Error::Decrypt)),
    }
    let other = open_data::open(&format!("{appid}x"), &key, &sealed, Some(&iv));
    assert!(other.is_err() || way >= 4);
    // Damaged on the way, at any byte.
    let mut bytes = lenient_base64::decode(&sealed).expect("base64");
    let at = feed.below(bytes.len());
    bytes[at] ^= feed.byte() | 1;
    let damaged = lenient_base64::encode(&bytes);
    let opened = open_data::decrypt(&key, &damaged, Some(&iv));
    assert_ne!(opened.as_ref().ok(), Some(&plain));
    assert_eq!(
        opened.ok(),
        plain_decrypt(key.expose(), &damaged, Some(&iv))
    );
}

/// `random(16) | length(4) | message | appid | padding` taken apart by hand.
fn plain_unpack(plain: &[u8], appid: &str) -> Option<String> {
    let pad = usize::from(*plain.last()?);
    let whole = plain.len().checked_sub(pad)?;
    if !(1..=32).contains(&pad) || plain[whole..].iter().any(|byte| usize::from(*byte) != pad) {
        return None;
    }
    let length = u32::from_be_bytes(plain[..whole].get(16..20)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(20)?;
    let text = plain[..whole].get(20..end)?;
    (plain[end..whole] == *appid.as_bytes()).then_some(())?;
    String::from_utf8(text.to_vec()).ok()
}

/// Pushed messages in safe mode: what was sealed opens, whatever else was encrypted with
/// the key is read as the plain implementation reads it, and no wrong signature passes.
fn push(data: &[u8]) {
    let mut feed = Feed::new(data);
    let way = feed.below(8);
    if way >= 4 {
        return wrap(way - 4, feed);
    }
    let bytes = feed.array::<32>();
    let key_text = lenient_base64::encode(&bytes).replace('=', "");
    let key = MessageKey::parse(&Secret::new(key_text.as_str())).expect("a key");
    let (appid, token) = (feed.text(), Secret::new(feed.text()));
    let mailbox = MessageCodec {
        appid: appid.clone(),
        token,
        key: key.clone(),
    };
    if way == 0 {
        // Encrypted by somebody who has the key and no manners.
        let mut plain = feed.rest().to_vec();
        plain.truncate(plain.len() / 16 * 16);
        let sealed = cbc::Encryptor::<aes::Aes256>::new(
            &bytes.into(),
            &<[u8; 16]>::try_from(&bytes[..16]).expect("16").into(),
        )
        .encrypt_padded_vec::<NoPadding>(&plain);
        let opened = message::decrypt(&key, &appid, &lenient_base64::encode(&sealed));
        assert_eq!(opened.ok(), plain_unpack(&plain, &appid));
        return;
    }
    if way == 1 {
        let text = feed.text();
        if let Ok(opened) = message::decrypt(&key, &appid, &text) {
            assert!(opened.len() < text.len());
        }
        let parsed = MessageKey::parse(&Secret::new(text.as_str())).is_ok();
        let fits = text.len() == 43 && plain_base64(&text).is_some_and(|key| key.len() == 32);
        assert_eq!(parsed, fits);
        return;
    }
    let (time, nonce, text) = (feed.number(), feed.text(), feed.text());
    let format = if way == 2 {
        BodyFormat::Json
    } else {
        BodyFormat::Xml
    };
    let body = mailbox.seal(format, &text, (UnixSecs::new(time), &nonce), [7; 16]);
    let read = envelope::read(&body).expect("an envelope");
    assert_eq!(read.format, format);
    let time = time.to_string();
    let good = message::msg_signature(&mailbox.token, &time, &nonce, &read.encrypt);
    let stamp = PushSignature {
        timestamp: &time,
        nonce: &nonce,
        msg_signature: &good,
    };
    assert_eq!(mailbox.open(stamp, &body).ok().as_ref(), Some(&text));
    let given = feed.text();
    let forged = mailbox.open(
        PushSignature {
            msg_signature: &given,
            ..stamp
        },
        &body,
    );
    assert_eq!(forged.is_ok(), given == good);
    let other = MessageCodec {
        appid: format!("{appid}x"),
        ..mailbox
    };
    assert!(matches!(other.open(stamp, &body), Err(Error::OtherApp)));
}

/// The wrapping: made from parts it gives them back, and nothing makes it longer.
fn wrap(way: usize, mut feed: Feed<'_>) {
    if way == 0 {
        let body = feed.text();
        if let Ok(read) = envelope::read(&body) {
            let to_user = read.to_user.map_or(0, |name| name.len());
            // An escape in JSON is never shorter than what it stands for; no entity of XML
            // is expanded.
            assert!(read.encrypt.len() + to_user <= body.len());
        }
        return;
    }
    let clean = |text: String| -> String {
        let fits = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '+' | '/' | '=' | '-');
        text.chars().filter(fits).collect()
    };
    let (to_user, encrypt) = (clean(feed.text()), clean(feed.text()));
    let (junk, encrypt) = (clean(feed.text()), format!("x{encrypt}"));
    let body = match way {
        1 => json!({"ToUserName": to_user, "Junk": junk, "Encrypt": encrypt}).to_string(),
        2 => format!(
            "\u{feff}<?xml version=\"1.0\"?>\n<xml><!-- {} --><ToUserName>{to_user}</ToUserName>\n\
             <J><Encrypt>{junk}</Encrypt></J><Encrypt>\n{encrypt} </Encrypt></xml>",
            junk.replace('-', "")
        ),
        _ => format!(
            "<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt><J>{junk}</J>\
             <ToUserName><![CDATA[{to_user}]]></ToUserName></xml>"
        ),
    };
    let read = envelope::read(&body).expect(&body);
    assert_eq!(read.encrypt, encrypt);
    assert_eq!(read.to_user.unwrap_or_default(), to_user);
    assert_eq!(read.format == BodyFormat::Json, way == 1);
}

/// WeChat's answers: a login comes out as it went in, and no error shows the session key.
fn answer(data: &[u8]) {
    const KEY: &str = "tiihtNczf5v6AKRyjwEUhQ==";
    let mut feed = Feed::new(data);
    let (way, status) = (feed.below(4), u16::from(feed.byte()) + 100);
    let read = |body: &[u8]| {
        wire::read_answer(status, body).and_then(|fields| wire::read_login(status, fields))
    };
    if way == 0 {
        let body = feed.rest();
        if let Err(Error::Refused { errcode, errmsg }) = read(body) {
            assert!(errcode != 0 && errmsg.chars().count() <= 300);
            assert!(!errmsg.contains(char::is_control));
            assert!(errcode::explain(errcode).is_none_or(|known| known.code == errcode));
        }
        return;
    }
    let (openid, errcode, errmsg) = (feed.text(), feed.text(), feed.text());
    let errcode = serde_json::from_str(&errcode).unwrap_or(Value::String(errcode));
    let mut fields = json!({"openid": openid, "session_key": KEY, "errmsg": errmsg});
    if way > 1 {
        fields["errcode"] = errcode.clone();
    }
    let mut body = fields.to_string().into_bytes();
    if way == 3 {
        let at = feed.below(body.len());
        body.truncate(at);
    }
    let number = match &errcode {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match read(&body) {
        Ok(login) => {
            assert!(way == 1 || way == 2 && number == Some(0));
            assert_eq!(login.openid, openid);
            assert!(login.session_key.is(KEY) && !format!("{login:?}").contains(KEY));
        }
        Err(error) => {
            assert!(way != 1 || openid.is_empty(), "{error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(KEY) || errmsg.contains(KEY), "{shown}");
        }
    }
    let masked = client::without_secrets(&errmsg, [KEY, openid.as_str()]);
    assert!(!masked.contains(KEY));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
