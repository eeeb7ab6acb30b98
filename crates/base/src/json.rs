//! JSON bodies whose fields have names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A struct that is written as an object. Left alone, serde takes a list as well, whose
/// values are the fields in the order of the source: nobody means that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedFields<T>(pub T);

/// Reads a body that must be an object.
pub fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).map(|NamedFields(fields)| fields)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NamedFields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(FieldsVisitor(PhantomData))
            .map(Self)
    }
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with named fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login<'a> {
        code: &'a str,
        more: Option<Vec<u8>>,
    }

    #[test]
    fn an_object_is_read_and_a_list_is_not() {
        let read = object::<Login<'_>>(br#" {"code": "c", "more": [1]} "#);
        let more = Some(vec![1]);
        assert_eq!(read.ok(), Some(Login { code: "c", more }));
        for bad in [
            r#"["c",null]"#,
            "[]",
            "null",
            "7",
            r#""c""#,
            r#"{"cod":"c"}"#,
            "",
        ] {
            assert!(object::<Login<'_>>(bad.as_bytes()).is_err(), "{bad}");
        }
        // What serde makes of it without this.
        assert!(serde_json::from_str::<Login<'_>>(r#"["c",null]"#).is_ok());
        let why = object::<Login<'_>>(b"[1]").expect_err("a list");
        assert!(
            why.to_string()
                .contains("expected an object with named fields"),
            "{why}"
        );
    }

    #[test]
    fn lists_of_objects_are_still_lists() {
        let read = |text| serde_json::from_str::<Vec<NamedFields<Login<'_>>>>(text);
        assert_eq!(read(r#"[{"code":"c"}]"#).map(|all| all.len()).ok(), Some(1));
        assert!(read(r#"[["c",null]]"#).is_err());
    }
}
