//! The official examples, as recomputed from WeChat's documentation (tests only).

use serde_json::Value;
use weappd_base::secret::Secret;

/// One text of `tests-data/wechat-vectors.json`, by its JSON pointer.
pub(crate) fn text(pointer: &str) -> String {
    let all: Value = serde_json::from_str(include_str!("../tests-data/wechat-vectors.json"))
        .expect("the vectors are JSON");
    all.pointer(pointer)
        .and_then(Value::as_str)
        .expect(pointer)
        .to_owned()
}

/// The same, where the room takes a secret.
pub(crate) fn secret(pointer: &str) -> Secret {
    Secret::new(text(pointer))
}
