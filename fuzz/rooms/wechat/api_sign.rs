//! Sealed calls and answers: what must hold for any of them (docs/fuzzing.md).
#![allow(clippy::expect_used, reason = "a target fails by panicking")]

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use serde_json::json;

use super::*;
use crate::fuzzing::feed::Feed;

const APPID: &str = "wxba6223c06417af7b";
const SECRET: &str = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=";
const NOW: UnixSecs = UnixSecs::new(1_635_927_954);

/// Each side's keys; made once, they take their time.
static SIDES: LazyLock<[Side; 2]> = LazyLock::new(|| {
    let pairs = [(); 2].map(|()| KeyPair::generate(KeySize::Rsa2048).expect("a key"));
    let public = pairs.each_ref().map(|pair| {
        let der = pair.public_key().as_der();
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = der.expect("a key");
        pem("PUBLIC KEY", der.as_ref())
    });
    [0, 1].map(|ours: usize| {
        let der: Pkcs8V1Der<'_> = pairs[ours].as_der().expect("a key");
        let keys = KeyTexts {
            appid: APPID.to_owned(),
            symmetric_key: Secret::new(SECRET),
            symmetric_key_sn: "fa05".to_owned(),
            private_key: Secret::new(pem("PRIVATE KEY", der.as_ref())),
            private_key_sn: format!("{ours}a"),
            their_key: public[1 - ours].clone(),
            their_key_sn: format!("{}a", 1 - ours),
        };
        let channel = SealedChannel::new(&keys).expect("keys");
        Side { keys, channel }
    })
});

struct Side {
    keys: KeyTexts,
    channel: SealedChannel,
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = lenient_base64::encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

pub(crate) fn talk(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(8) {
        0 | 1 => stranger(&mut feed),
        2 | 3 => sealed(&mut feed),
        4 | 5 => unmannered(&mut feed),
        _ => keys(&mut feed),
    }
}

/// Nobody without the key is believed, and the envelope opens for nobody.
fn stranger(feed: &mut Feed<'_>) {
    let us = &SIDES[0].channel;
    let (path, timestamp, signature) = (feed.text(), feed.text(), feed.text());
    let (serial, old, body) = (feed.text(), feed.text(), feed.text());
    let stamp = SignatureHeaders {
        appid: us.appid(),
        timestamp: &timestamp,
        signature: &signature,
        serial: (serial != "-").then_some(serial.as_str()),
        old: (old != "-").then_some((&old, &signature)),
    };
    let error = us.open(&path, stamp, &body, NOW).expect_err("believed");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) || body.contains(SECRET), "{shown}");
    assert!(us.decrypt(&path, NOW, &body).is_err());
}

/// What one side seals the other opens, and nothing that differs in one byte.
fn sealed(feed: &mut Feed<'_>) {
    let [us, them] = SIDES.each_ref().map(|side| &side.channel);
    let fresh = FreshBytes {
        iv: feed.array(),
        n: feed.array(),
    };
    let (way, now) = (feed.below(8), NOW + Duration::from_secs(feed.byte().into()));
    let (path, text) = (feed.text(), feed.text());
    let fields = match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::from_iter([(text.clone(), json!([1, {"a": text}]))]),
    };
    let sealed = us.seal(&path, fields.clone(), now, fresh).expect("sealed");
    assert!(!sealed.body.contains(APPID) || path.contains(APPID));
    let time = now.to_string();
    let good = SignatureHeaders {
        appid: APPID,
        timestamp: &time,
        signature: &sealed.signature,
        serial: Some(&sealed.serial),
        old: None,
    };
    let mut said = fields;
    said.retain(|name, _| !ENVELOPE_FIELDS.contains(&name.as_str()));
    let opened = them.open(&path, good, &sealed.body, now).expect("opened");
    // A number is read once more on the way, and may lose its last bit each time.
    assert_eq!(Value::Object(opened), same(&said));
    let at = feed.below(sealed.body.len());
    let change = feed.byte();
    let (mut body, mut stamp, mut where_to) = (sealed.body.clone(), good, path.clone());
    let later = (now + Duration::from_secs(1)).to_string();
    let other = "A".repeat(sealed.signature.len());
    match way {
        0 => {
            let old = body.as_bytes()[at];
            let new = if old == b'x' { 'y' } else { 'x' };
            body.replace_range(at..=at, &new.to_string());
        }
        1 => body.truncate(at),
        2 => body.push(char::from(change)),
        3 => stamp.timestamp = &later,
        4 => where_to.push('x'),
        5 => stamp.signature = &other,
        6 => stamp.serial = Some("1a"),
        _ => {
            // Our own words thrown back at us.
            assert!(us.open(&path, good, &body, now).is_err());
            stamp.appid = "wx1";
        }
    }
    assert!(them.open(&where_to, stamp, &body, now).is_err(), "{way}");
    assert!(
        them.open(&path, good, &sealed.body, now + Duration::from_secs(301))
            .is_err()
    );
}

/// Fields written and read once.
fn same(fields: &Map<String, Value>) -> Value {
    let text = Value::Object(fields.clone()).to_string();
    serde_json::from_str(&text).expect("JSON")
}

/// Signed by somebody with all the keys and no manners: read only if the envelope's own
/// fields are right.
fn unmannered(feed: &mut Feed<'_>) {
    let [us, them] = SIDES.each_ref().map(|side| &side.channel);
    let (path, way) = (feed.text(), feed.below(4));
    let fresh = feed.array::<12>();
    let mut plain = feed.text();
    if way < 2 {
        let mut said: Value = serde_json::from_str(&plain).unwrap_or_default();
        if let Value::Object(fields) = &mut said {
            fields.insert("_appid".to_owned(), APPID.into());
            fields.insert("_timestamp".to_owned(), NOW.get().into());
        }
        plain = said.to_string();
    }
    let mut data = plain.clone().into_bytes();
    let tag = us.symmetric.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(fresh),
        Aad::from(us.bound_to(&path, NOW)),
        &mut data,
    );
    let body = match way {
        3 => plain.clone(),
        _ => json!({
            "iv": lenient_base64::encode(&fresh),
            "data": lenient_base64::encode(&data),
            "authtag": lenient_base64::encode(tag.expect("sealed").as_ref()),
        })
        .to_string(),
    };
    let mut signature = vec![0; us.signer.public_modulus_len()];
    us.signer
        .sign(
            &RSA_PSS_SHA256,
            &SystemRandom::new(),
            us.signed(&path, NOW, &body).as_bytes(),
            &mut signature,
        )
        .expect("signed");
    let signature = lenient_base64::encode(&signature);
    let stamp = SignatureHeaders {
        appid: APPID,
        timestamp: "1635927954",
        signature: &signature,
        ..SignatureHeaders::default()
    };
    let right = serde_json::from_str::<Map<String, Value>>(&plain)
        .ok()
        .filter(|said| way != 3 && said.get("_appid") == Some(&json!(APPID)))
        .filter(|said| said.get("_timestamp").and_then(Value::as_i64) == Some(NOW.get()))
        .map(|mut said| {
            said.retain(|name, _| !ENVELOPE_FIELDS.contains(&name.as_str()));
            said
        });
    match them.open(&path, stamp, &body, NOW) {
        Ok(opened) => assert_eq!(Some(opened), right),
        Err(error) => {
            assert!(right.is_none(), "{error}");
            assert!(matches!(error, Error::ApiData), "{error}");
        }
    }
}

/// Keys as people paste them: used whole or refused by name, and never shown.
fn keys(feed: &mut Feed<'_>) {
    let good = &SIDES[0].keys;
    let (which, way, at) = (feed.below(4), feed.below(4), usize::from(feed.byte()));
    let text = feed.text();
    let damaged = |whole: &str| {
        let at = at * whole.len() / 256;
        match way {
            0 => text.clone(),
            1 => whole[..at].to_owned(),
            2 => whole.replace('\n', "\r\n") + &text,
            _ => format!("{text}\n{whole}"),
        }
    };
    let mut keys = good.clone();
    match which {
        0 => keys.symmetric_key = Secret::new(damaged(SECRET)),
        1 => keys.private_key = Secret::new(damaged(good.private_key.expose())),
        2 => keys.their_key = damaged(&good.their_key),
        _ => {
            keys.symmetric_key_sn.clone_from(&text);
            let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            assert_eq!(SealedChannel::new(&keys).is_ok(), fits, "{text:?}");
            return;
        }
    }
    match SealedChannel::new(&keys) {
        Ok(channel) => {
            let sealed = channel.seal(
                "/a",
                Map::new(),
                NOW,
                FreshBytes {
                    iv: [1; 12],
                    n: [2; 16],
                },
            );
            assert!(sealed.is_ok());
        }
        Err(error) => {
            assert!(matches!(error, Error::ApiKey(_)), "{error}");
            let shown = format!("{error} {error:?} {keys:?}");
            let private = good.private_key.expose();
            assert!(
                !shown.contains(SECRET) && !shown.contains(&private[200..240]),
                "{shown}"
            );
        }
    }
}
