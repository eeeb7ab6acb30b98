//! Asks serde which keys a section has.

use std::cell::Cell;

use serde::{
    Deserialize,
    de::{self, Visitor, value},
    forward_to_deserialize_any,
};

/// The keys of a section.
pub(crate) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let keys: Cell<&[&str]> = Cell::new(&[]);
    // It only asks and never gives, so it always ends in an error.
    drop(T::deserialize(KeyLister(&keys)));
    keys.get()
}

struct KeyLister<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> de::Deserializer<'de> for KeyLister<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("only the keys are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.set(fields);
        Err(de::Error::custom("only the keys are asked for"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}
