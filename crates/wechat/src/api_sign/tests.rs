//! The official example, and both sides of a talk.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;
use crate::vectors::{secret, text};

const PATH: &str = "/wxa/getuserriskrank";
const NOW: UnixSecs = UnixSecs::new(1_635_927_954);
const FRESH: FreshBytes = FreshBytes {
    iv: [7; 12],
    n: [9; 16],
};

/// A key pair for each side; RSA keys take their time to make.
static PAIRS: LazyLock<[KeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key")));

/// The keys of the side that signs with `ours` and hears `their_key`.
fn texts(ours: usize, their_key: String) -> KeyTexts {
    KeyTexts {
        appid: text("/api_sign/appid"),
        symmetric_key: secret("/api_sign/sym_key"),
        symmetric_key_sn: text("/api_sign/sym_sn"),
        private_key: Secret::new(PAIRS[ours].serialize_pem()),
        private_key_sn: format!("{ours}a"),
        their_key,
        their_key_sn: format!("{}a", 1 - ours),
    }
}

fn channel(ours: usize) -> SealedChannel {
    SealedChannel::new(&texts(ours, PAIRS[1 - ours].public_key_pem())).expect("keys")
}

fn stamp<'a>(sealed: &'a SealedBody, timestamp: &'a str) -> SignatureHeaders<'a> {
    SignatureHeaders {
        appid: &sealed.appid,
        timestamp,
        signature: &sealed.signature,
        serial: Some(&sealed.serial),
        old: None,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

/// What an official text says without the envelope's own fields.
fn official(pointer: &str) -> Map<String, Value> {
    let mut fields = object(serde_json::from_str(&text(pointer)).expect("JSON"));
    fields.retain(|name, _| !ENVELOPE_FIELDS.contains(&name.as_str()));
    fields
}

#[test]
fn the_official_call_is_opened() {
    let keys = texts(0, text("/api_sign/rsa_public_key"));
    let wechat = SealedChannel::new(&keys).expect("keys");
    let (appid, signature) = (text("/api_sign/appid"), text("/api_sign/req_signature"));
    let stamp = SignatureHeaders {
        appid: &appid,
        timestamp: "1635927954",
        signature: &signature,
        ..SignatureHeaders::default()
    };
    let body = text("/api_sign/req_body");
    let fields = wechat.open(PATH, stamp, &body, NOW).expect("opened");
    assert_eq!(fields, official("/api_sign/req_plaintext"));
}

#[test]
fn the_official_answer_is_opened_and_nothing_near_it() {
    let keys = KeyTexts {
        their_key_sn: text("/api_sign/platform_cert_sn"),
        ..texts(0, text("/api_sign/platform_cert"))
    };
    let weappd = SealedChannel::new(&keys).expect("keys");
    let [appid, signature, serial, body] =
        ["appid", "resp_signature", "platform_cert_sn", "resp_body"]
            .map(|name| text(&format!("/api_sign/{name}")));
    let good = SignatureHeaders {
        appid: &appid,
        timestamp: "1635927956",
        signature: &signature,
        serial: Some(&serial),
        old: None,
    };
    let open = |path, stamp, body: &str, now| weappd.open(path, stamp, body, now);
    let fields = open(PATH, good, &body, NOW + Duration::from_secs(302)).expect("opened");
    assert_eq!(fields, official("/api_sign/resp_plaintext"));

    // While WeChat changes its key, the old one's number and signature stand beside.
    let changing = SignatureHeaders {
        signature: "AAAA",
        serial: Some("new"),
        old: Some((&serial, &signature)),
        ..good
    };
    assert!(open(PATH, changing, &body, NOW).is_ok());

    let late = open(PATH, good, &body, NOW + Duration::from_secs(303));
    assert!(matches!(late, Err(Error::ApiTime)));
    let early = open(PATH, good, &body, NOW - Duration::from_secs(299));
    assert!(matches!(early, Err(Error::ApiTime)));
    let elsewhere = open("/wxa/getuserriskranks", good, &body, NOW);
    assert!(matches!(elsewhere, Err(Error::ApiSignature)));
    let changed = body.replace("r2WD", "r2WE");
    let changed = open(PATH, good, &changed, NOW);
    assert!(matches!(changed, Err(Error::ApiSignature)));
    let strange = SignatureHeaders {
        serial: Some("79ba"),
        ..good
    };
    assert!(matches!(
        open(PATH, strange, &body, NOW),
        Err(Error::ApiSerial)
    ));
    let other = SignatureHeaders {
        appid: "wx1",
        ..good
    };
    assert!(matches!(
        open(PATH, other, &body, NOW),
        Err(Error::OtherApp)
    ));
}

#[test]
fn the_four_lines_are_the_official_ones() {
    let keys = texts(0, text("/api_sign/platform_cert"));
    let channel = SealedChannel::new(&keys).expect("keys");
    assert_eq!(
        channel.bound_to(PATH, NOW),
        "https://api.weixin.qq.com/wxa/getuserriskrank|wxba6223c06417af7b|1635927954|\
         fa05fe1e5bcc79b81ad5ad4b58acf787"
    );
    let payload = channel.signed(
        PATH,
        NOW + Duration::from_secs(2),
        &text("/api_sign/resp_body"),
    );
    let digest = <sha2::Sha256 as sha2::Digest>::digest(payload.as_bytes());
    assert_eq!(hex::encode(digest), text("/api_sign/resp_payload_sha256"));
}

#[test]
fn an_app_does_not_write_the_envelopes_own_fields() {
    let fields = object(json!({"_appid": "wx1", "_timestamp": 1, "_n": "", "a": 1}));
    let sealed = channel(0).seal(PATH, fields, NOW, FRESH).expect("sealed");
    let opened = channel(1).open(PATH, stamp(&sealed, "1635927954"), &sealed.body, NOW);
    assert_eq!(opened.expect("opened"), object(json!({"a": 1})));
}

#[test]
fn a_stranger_and_a_wrong_symmetric_key_are_told_apart() {
    let sealed = channel(0)
        .seal(PATH, Map::new(), NOW, FRESH)
        .expect("sealed");
    let deaf = SealedChannel::new(&texts(1, PAIRS[1].public_key_pem())).expect("keys");
    let heard = deaf.open(PATH, stamp(&sealed, "1635927954"), &sealed.body, NOW);
    assert!(matches!(heard, Err(Error::ApiSignature)));
    let other_key = KeyTexts {
        symmetric_key_sn: "other".to_owned(),
        ..texts(1, PAIRS[0].public_key_pem())
    };
    let other_key = SealedChannel::new(&other_key).expect("keys");
    let heard = other_key.open(PATH, stamp(&sealed, "1635927954"), &sealed.body, NOW);
    assert!(matches!(heard, Err(Error::ApiData)));
}

#[test]
fn bad_keys_are_named() {
    let good = || texts(0, PAIRS[1].public_key_pem());
    let bad = [
        KeyTexts {
            symmetric_key: Secret::new("QUJD"),
            ..good()
        },
        KeyTexts {
            symmetric_key_sn: String::new(),
            ..good()
        },
        KeyTexts {
            private_key: Secret::new(PAIRS[0].public_key_pem()),
            ..good()
        },
        KeyTexts {
            their_key: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_owned(),
            ..good()
        },
    ];
    for keys in bad {
        assert!(matches!(SealedChannel::new(&keys), Err(Error::ApiKey(_))));
    }
    assert!(!format!("{:?}", channel(0)).contains("symmetric"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_one_side_seals_the_other_opens(
        path in "/[a-z/_]{1,40}",
        fields in prop::collection::btree_map("[a-z]{1,8}", ".{0,40}", 0..6),
        now in (0i64..4_000_000_000).prop_map(UnixSecs::new),
        iv: [u8; 12],
        n: [u8; 16],
    ) {
        let fields: Map<String, Value> =
            fields.into_iter().map(|(name, text)| (name, Value::from(text))).collect();
        let sealed = channel(0)
            .seal(&path, fields.clone(), now, FreshBytes { iv, n })
            .expect("sealed");
        let at = now.to_string();
        let opened = channel(1).open(&path, stamp(&sealed, &at), &sealed.body, now);
        prop_assert_eq!(opened.expect("opened"), fields);
    }

    #[test]
    fn no_input_panics(
        path in ".{0,20}",
        timestamp in "[-0-9]{0,22}",
        signature in "[A-Za-z0-9+/=]{0,400}",
        old in proptest::option::of("[a-z0-9]{0,3}"),
        body in ".{0,200}",
        now in any::<i64>().prop_map(UnixSecs::new),
    ) {
        let one = channel(0);
        let stamp = SignatureHeaders {
            appid: one.appid(),
            timestamp: &timestamp,
            signature: &signature,
            serial: old.as_deref().map(|_| "2a"),
            old: old.as_deref().map(|serial| (serial, signature.as_str())),
        };
        prop_assert!(one.open(&path, stamp, &body, now).is_err());
        let envelope = format!(r#"{{"iv":"{signature}","data":"{signature}","authtag":"{body}"}}"#);
        prop_assert!(one.decrypt(&path, now, &envelope).is_err());
    }
}
