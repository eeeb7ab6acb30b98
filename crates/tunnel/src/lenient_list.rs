//! Lists as business servers write them: PHP makes an object of an array with holes, and
//! `null` of what was there before.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON list, or the values of an object, without nulls.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LenientList<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LenientList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ListVisitor(PhantomData))
            .map(Self)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Option<T>>()? {
            list.extend(item);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        let mut is_empty = true;
        while let Some((IgnoredAny, item)) = items.next_entry::<_, Option<T>>()? {
            is_empty = false;
            list.extend(item);
        }
        // An array without items is never written like this.
        if is_empty {
            return Err(A::Error::custom("an empty object is no list"));
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_with_holes_are_lists() {
        let read = |text: &str| serde_json::from_str::<LenientList<String>>(text).ok();
        for (text, items) in [
            (r#"["a","b"]"#, "ab"),
            (r#"{"0":"a","2":"b"}"#, "ab"),
            (r#"{"2":"b","0":"a"}"#, "ba"),
            (r#"["a",null,"b",null]"#, "ab"),
            (r#"{"1":null,"7":"b"}"#, "b"),
            ("[null]", ""),
            ("[]", ""),
        ] {
            let list = read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(list.0.concat(), items, "{text}");
        }
        for text in ["{}", "null", r#""a""#, "7", "[7]", r#"{"0":["a"]}"#, ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
