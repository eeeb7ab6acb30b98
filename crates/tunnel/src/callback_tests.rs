//! What answers mean.

use super::*;

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
            outcome_of(code(status), body.as_bytes()),
            TryOutcome::Taken,
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
        let outcome = outcome_of(code(status), body.as_bytes());
        assert!(matches!(outcome, TryOutcome::Refused(_)), "{status} {body}");
    }
    for status in [408, 429, 500, 502, 503] {
        let outcome = outcome_of(code(status), b"{\"code\":0}");
        assert!(
            matches!(outcome, TryOutcome::Lost { safe: false, .. }),
            "{status}"
        );
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}
