//! The values of a subscribed message: each name tells what may stand in it.
//!
//! (Source: the table of parameter values on the official page of the call.)

use serde_json::{Map, Value};

use crate::wechat_refusal::WechatRefusal;

/// Checks every value; the refusal names the first that is wrong.
pub(super) fn check(data: &Map<String, Value>) -> Result<(), WechatRefusal> {
    let wrong = data.iter().find(|(name, field)| {
        let value = match &field["value"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        !fits(kind(name), &value)
    });
    wrong.map_or(Ok(()), |(name, _)| {
        let told = format!("argument invalid! data.{name}.value is empty or does not fit");
        Err(WechatRefusal::TemplateData(told))
    })
}

/// `thing1` is a `thing`.
fn kind(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn fits(kind: &str, value: &str) -> bool {
    let length = value.chars().count();
    if length == 0 {
        return false;
    }
    match kind {
        "thing" => length <= 20,
        "number" => length <= 32 && value.parse::<f64>().is_ok_and(f64::is_finite),
        "letter" => length <= 32 && value.chars().all(|c| c.is_ascii_alphabetic()),
        "symbol" => length <= 5 && !value.chars().any(char::is_alphanumeric),
        "character_string" => length <= 32 && value.is_ascii(),
        "amount" => is_amount(value),
        "phone_number" => {
            length <= 17
                && value
                    .chars()
                    .all(|c| c.is_ascii_digit() || "+-() ".contains(c))
        }
        "car_number" => length <= 8,
        "name" => length <= if value.is_ascii() { 20 } else { 10 },
        "phrase" => length <= 5 && value.chars().all(is_han),
        "time" | "date" => value.chars().any(|c| c.is_ascii_digit()),
        _ => true,
    }
}

/// A currency sign and up to 10 digits, perhaps with decimals, perhaps with 元.
fn is_amount(value: &str) -> bool {
    let number = value.trim_end_matches('元');
    let number = number.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.');
    let signs = value.chars().count() - number.chars().count();
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    signs <= 2 && (1..=10).contains(&digits) && number.parse::<f64>().is_ok()
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_rule() {
        for (name, good, bad) in [
            ("thing1", "二十个字以内", "123456789012345678901"),
            ("number2", "12.5", "twelve"),
            ("letter3", "abc", "ab1"),
            ("symbol4", "@#", "abcdef"),
            ("character_string5", "A-1", "中文"),
            ("amount6", "¥12.50", "12345678901"),
            ("phone_number7", "+86-0766-66888866", "866888866888866888"),
            ("car_number8", "粤A8Z888挂", "粤A8Z888挂99"),
            ("name9", "张三", "一二三四五六七八九十一"),
            ("phrase10", "配送中", "delivered"),
            ("date11", "2026年11月21日", "soon"),
            ("time12", "15:01", "soon"),
            ("enum13", "anything", ""),
        ] {
            let data = |value: &str| {
                let mut data = Map::new();
                data.insert(name.to_owned(), json!({ "value": value }));
                data
            };
            assert_eq!(check(&data(good)), Ok(()), "{name}");
            let refused = check(&data(bad)).expect_err(name);
            assert!(matches!(refused, WechatRefusal::TemplateData(told) if told.contains(name)));
        }
    }

    #[test]
    fn a_value_must_be_there() {
        let data = json!({ "thing1": "not an object" });
        assert!(check(data.as_object().expect("an object")).is_err());
        let data = json!({ "number1": { "value": 12 } });
        assert_eq!(check(data.as_object().expect("an object")), Ok(()));
    }
}
