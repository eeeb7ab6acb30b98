//! The user object as the old servers keep it: base64 or JSON text, in a column that ends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::store::cauth::tables::CauthTables;

/// What is kept first when not all fits.
const FIRST: [&str; 9] = [
    "openId",
    "unionId",
    "nickName",
    "avatarUrl",
    "gender",
    "language",
    "city",
    "province",
    "country",
];

/// The JSON text of a column, whichever of the old servers wrote it.
pub(crate) fn read(column: &str) -> Option<String> {
    let column = column.trim();
    if column.starts_with('{') {
        return Some(column.to_owned());
    }
    let plain = STANDARD.decode(column).ok()?;
    String::from_utf8(plain)
        .ok()
        .filter(|text| !text.is_empty())
}

/// The unionid in the user object: the tables have no column for it.
pub(crate) fn unionid(column: &str) -> Option<String> {
    let fields: Map<String, Value> = serde_json::from_str(&read(column)?).ok()?;
    let unionid = fields.get("unionId")?.as_str()?;
    Some(unionid.to_owned()).filter(|id| !id.is_empty())
}

/// The user object as it fits the column: all of it, or the fields that do.
pub(crate) fn write(tables: &CauthTables, json: &str) -> String {
    let whole = encode(tables, json);
    if fits(tables, &whole) {
        return whole;
    }
    let fields: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    let rest = fields.keys().map(String::as_str);
    let rest = rest.filter(|name| !FIRST.contains(name));
    let mut kept = Map::new();
    let mut best = encode(tables, "{}");
    for name in FIRST.into_iter().chain(rest) {
        let Some(value) = fields.get(name) else {
            continue;
        };
        kept.insert(name.to_owned(), value.clone());
        let trial = encode(tables, &Value::from(kept.clone()).to_string());
        if fits(tables, &trial) {
            best = trial;
        } else {
            kept.remove(name);
        }
    }
    best
}

fn fits(tables: &CauthTables, text: &str) -> bool {
    text.chars().count() <= tables.info_length
}

fn encode(tables: &CauthTables, json: &str) -> String {
    if !tables.is_wafer2 {
        return STANDARD.encode(json);
    }
    // What the column does not take, JSON can say in escapes.
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    for letter in json.chars() {
        if letter as u32 > tables.last_letter {
            for unit in letter.encode_utf16(&mut units) {
                text.push_str("\\u");
                text.push_str(&hex::encode(unit.to_be_bytes()));
            }
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tables(is_wafer2: bool, last_letter: u32) -> CauthTables {
        CauthTables {
            is_wafer2,
            appid: "wx1".to_owned(),
            has_apps: true,
            info_length: 2048,
            last_letter,
            key_length: 100,
            openid_length: 100,
        }
    }

    fn shapes() -> [CauthTables; 4] {
        [
            tables(false, 0x10_ffff),
            tables(true, 0x10_ffff),
            tables(true, 0xffff),
            tables(true, 0x7f),
        ]
    }

    fn back(column: &str) -> Value {
        serde_json::from_str(&read(column).expect("readable")).expect("JSON")
    }

    #[test]
    fn each_server_keeps_it_in_its_own_way() {
        let json = r#"{"nickName":"三木😀"}"#;
        let [php, node, narrow, latin1] = shapes().map(|tables| write(&tables, json));
        assert_eq!(php, STANDARD.encode(json));
        assert_eq!(node, json);
        assert_eq!(narrow, r#"{"nickName":"三木\ud83d\ude00"}"#);
        assert_eq!(latin1, r#"{"nickName":"\u4e09\u6728\ud83d\ude00"}"#);
        for column in [php, node, narrow, latin1] {
            assert_eq!(back(&column)["nickName"], "三木😀");
        }
    }

    #[test]
    fn what_is_too_long_loses_the_least_important_fields() {
        let json = json!({
            "huge": "x".repeat(3000), "later": 1, "nickName": "三木",
            "avatarUrl": "https://a/".to_owned() + &"u".repeat(1000), "openId": "o1",
        });
        for tables in shapes() {
            let column = write(&tables, &json.to_string());
            let kept = back(&column);
            let names: Vec<_> = kept.as_object().expect("an object").keys().collect();
            assert_eq!(names, ["openId", "nickName", "avatarUrl", "later"]);
        }
    }

    #[test]
    fn nonsense_in_the_column_is_no_user_object() {
        for column in ["", "***", "AAAA====", "/w=="] {
            assert_eq!(read(column), None, "{column}");
            assert_eq!(unionid(column), None, "{column}");
        }
    }

    proptest! {
        #[test]
        fn whatever_fits_comes_back(nick in ".*", more in prop::collection::hash_map(".{0,20}", ".{0,400}", 0..12)) {
            let mut object = json!(more);
            object["openId"] = json!("o1");
            object["nickName"] = json!(nick);
            for tables in shapes() {
                let column = write(&tables, &object.to_string());
                prop_assert!(fits(&tables, &column));
                prop_assert!(column.chars().all(|c| c as u32 <= tables.last_letter));
                let kept = back(&column);
                prop_assert_eq!(&kept["openId"], "o1");
                for (name, value) in kept.as_object().expect("an object") {
                    prop_assert_eq!(value, &object[name]);
                }
            }
        }
    }
}
