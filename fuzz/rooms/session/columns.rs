//! What must hold for the user object in a column of the old servers' tables.
#![allow(clippy::expect_used, reason = "a target fails by panicking")]

use serde_json::{Map, Value};

use super::has_fraction;
use crate::store::cauth::tables::CauthTables;
use crate::store::cauth::user_info;

/// The JSON text of a column.
pub(crate) fn read(column: &str) -> Option<String> {
    let text = user_info::read(column);
    assert!(text.as_ref().is_none_or(|text| text.len() <= column.len()));
    text
}

/// What is written fits, is of the column's letters, and says nothing that was not said.
pub(crate) fn write(shape: usize, length: i64, json: &str) {
    let Ok(said) = serde_json::from_str::<Map<String, Value>>(json) else {
        return;
    };
    if has_fraction(&Value::Object(said.clone())) {
        return;
    }
    // As the room itself writes it.
    let json = Value::Object(said.clone()).to_string();
    let tables = CauthTables {
        is_wafer2: shape > 0,
        appid: "wx1".to_owned(),
        has_apps: true,
        info_length: usize::try_from(length.clamp(4, 4000)).unwrap_or(4),
        last_letter: [0x10_ffff, 0x10_ffff, 0xffff, 0x7f][shape % 4],
        key_length: 100,
        openid_length: 100,
    };
    let column = user_info::write(&tables, &json);
    assert!(column.chars().count() <= tables.info_length, "{column}");
    assert!(
        column
            .chars()
            .all(|letter| letter as u32 <= tables.last_letter)
    );
    let kept = user_info::read(&column).expect("readable");
    let kept: Map<String, Value> = serde_json::from_str(&kept).expect("an object");
    for (name, value) in &kept {
        assert_eq!(said.get(name), Some(value));
    }
    let unionid = kept.get("unionId").and_then(Value::as_str);
    let unionid = unionid.filter(|unionid| !unionid.is_empty());
    assert_eq!(user_info::unionid(&column).as_deref(), unionid);
    let whole = tables.info_length >= 12 * json.len();
    assert!(!whole || kept == said);
}
