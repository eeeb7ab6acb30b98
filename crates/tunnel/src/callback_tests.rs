//! What callbacks look like and what answers mean.

use super::*;

#[test]
fn callbacks_are_signed_like_the_originals() {
    let key = Secret::new("9f338d1f0ecc37d25ac7b161c1d7bf72");
    let message = r#"{"type":"speak","content":{"word":"hello"}}"#;
    let golden = [
        (
            data_text("t1", "connect", None),
            "142c7be0e1bb6b6e91dc67483c2d16ab763c120d",
        ),
        (
            data_text("t1", "message", Some(message)),
            "876a27e9dd5658734292ef78128c8ce7d6350bbd",
        ),
        (
            data_text("t1", "close", None),
            "0aa1c2ffe0c98ad49695f4adc02511f3057690e6",
        ),
    ];
    for (data, signed) in golden {
        let body: Value = serde_json::from_str(&envelope_text(&data, &key)).expect("JSON");
        assert_eq!(
            body,
            json!({"data": data, "dataEncode": "json", "signature": signed})
        );
    }
}

#[test]
fn what_answers_mean() {
    let heard: [(u16, &str); 5] = [
        (200, r#"{"code":0,"message":"ok"}"#),
        (200, ""),
        (204, ""),
        (200, "<html>"),
        (200, r#"{"data":{}}"#),
    ];
    for (status, body) in heard {
        assert_eq!(
            judge(code(status), body.as_bytes()),
            Outcome::Heard,
            "{body}"
        );
    }
    for (status, body) in [
        (200, r#"{"code":9003}"#),
        (200, r#"{"code":-1}"#),
        (400, r#"{"code":9001}"#),
        (404, ""),
        (301, ""),
    ] {
        let outcome = judge(code(status), body.as_bytes());
        assert!(matches!(outcome, Outcome::Refused(_)), "{status} {body}");
    }
    for status in [408, 429, 500, 502, 503] {
        let outcome = judge(code(status), b"{\"code\":0}");
        assert!(
            matches!(outcome, Outcome::Lost { safe: false, .. }),
            "{status}"
        );
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}
