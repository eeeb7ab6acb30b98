//! Pushes: whatever the settings and the message, production opens what is sent; whatever
//! is answered, it is read (docs/fuzzing.md).
#![allow(clippy::expect_used, reason = "a target fails by panicking")]

use http::Uri;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_outbound::OutboundTrust;
use weappd_wechat::message::{MessageCodec, MessageKey, PushSignature};

use super::*;
use crate::fuzzing::feed::Feed;
use crate::push_target::{PushBodyFormat, PushClient, PushEncryption};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

pub(crate) fn letters(feed: &mut Feed<'_>) {
    let (way, format, mode) = (feed.below(4), feed.below(2), feed.below(3));
    if way == 0 {
        return settings(feed);
    }
    let target = PushTarget {
        appid: "wx1".to_owned(),
        url: Uri::from_static("http://127.0.0.1/"),
        token: Secret::new("a token"),
        key: MessageKey::parse(&Secret::new(KEY)).ok(),
        mode: [
            PushEncryption::Plain,
            PushEncryption::Compatible,
            PushEncryption::Safe,
        ][mode],
        format: [PushBodyFormat::Json, PushBodyFormat::Xml][format],
        client: PushClient::new(OutboundTrust::PlainOnly).expect("a poster"),
    };
    let text = feed.text();
    if way == 1 {
        // What a server answers.
        drop(reply::read(&target, &text));
        return;
    }
    let message: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({ "Content": text }));
    if !message.is_object() {
        return;
    }
    let stamp = signed_push::PushStamp {
        openid: "oUser",
        timestamp: UnixSecs::new(1_800_000_000),
        nonce: "42",
        random: feed.array(),
        forged: way == 3,
    };
    let signed = signed_push::write(&target, &message, &stamp);
    let field = |name: &str| {
        let mut pairs = signed.query.split('&');
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let signature = field("signature").expect("signed");
    let genuine = message::is_signed(&target.token, "1800000000", "42", signature);
    assert_eq!(genuine, way != 3);
    if target.mode == PushEncryption::Plain {
        assert!(field("msg_signature").is_none());
        return;
    }
    let mailbox = MessageCodec {
        appid: target.appid.clone(),
        token: target.token.clone(),
        key: target.key.clone().expect("a key"),
    };
    let stamp = PushSignature {
        timestamp: "1800000000",
        nonce: "42",
        msg_signature: field("msg_signature").expect("signed"),
    };
    let opened = mailbox.open(stamp, &signed.body);
    if way == 3 {
        assert!(opened.is_err());
    } else {
        let plain = PushTarget {
            mode: PushEncryption::Plain,
            ..target
        };
        let open = signed_push::write(
            &plain,
            &message,
            &signed_push::PushStamp {
                forged: false,
                random: [0; 16],
                openid: "o",
                timestamp: UnixSecs::new(0),
                nonce: "",
            },
        );
        assert_eq!(opened.ok().as_ref(), Some(&open.body), "{}", signed.body);
    }
}

/// Settings: refused by name, without the token in the words, or good for an address.
fn settings(feed: &mut Feed<'_>) {
    let Ok(settings) = serde_json::from_slice::<PushSettings>(feed.rest()) else {
        return;
    };
    assert!(
        settings.token.is_empty()
            || !format!("{settings:?}").contains(&format!("{:?}", settings.token.expose()))
    );
    let url = settings.url.clone().unwrap_or_default();
    match PushTarget::new("wx1".to_owned(), &url, settings) {
        Ok(target) => {
            let address = target.address("signature=a&nonce=b");
            let request = Request::get(address).body(()).expect("an address");
            let query = request.uri().query().expect("a query");
            assert!(query.ends_with("signature=a&nonce=b"));
            assert_eq!(request.uri().host(), target.url.host());
            assert!(target.mode == PushEncryption::Plain || target.key.is_some());
        }
        Err(error) => assert!(matches!(error, Error::Push(_)), "{error}"),
    }
}
