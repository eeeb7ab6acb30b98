//! Reads a tree into the settings of the rooms and finds every mistake on the way.
//!
//! serde stops at the first mistake. This reader notes it, leaves the value out and reads
//! again, until what is left can be read; unknown keys are noted and passed over, for serde
//! tells a deserializer which keys a section has. So each room's `Config` is the only
//! description of its section.

use std::{cell::RefCell, collections::HashSet};
use weappd_base::language::pick;
use weappd_base::words;

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use crate::config::{
    bounds::KeyBounds,
    document::{TomlEntry, TomlNode, TomlPath, TomlValue},
    key_hints,
    keys::keys_of,
    problem::ProblemList,
    quantity::{QuantityError, QuantityUnit},
    read_error::ReadError,
    secret_source::{self, SecretSource},
    spelling,
};

/// No file has more mistakes than a person wants to read at once.
const MAX_ROUNDS: usize = 500;

/// Reads sections and collects what is wrong with them.
pub(crate) struct SectionReader<'a> {
    pub(crate) problems: &'a ProblemList,
    pub(crate) secrets: &'a SecretSource<'a>,
    /// Values that could not be read.
    left_out: RefCell<HashSet<usize>>,
}

impl<'a> SectionReader<'a> {
    pub(crate) fn new(problems: &'a ProblemList, secrets: &'a SecretSource<'a>) -> Self {
        Self {
            problems,
            secrets,
            left_out: RefCell::default(),
        }
    }

    /// Reads `node`; what cannot be read is noted and stays at its default.
    pub(crate) fn read<'de, T: Deserialize<'de> + Default>(&self, node: &'de TomlNode) -> T {
        self.read_beside(node, Some(&[]))
    }

    /// Reads two sections that share one table, as `[edge]` holds the room's settings and
    /// weappd's own.
    pub(crate) fn read_both<'de, A, B>(&self, node: &'de TomlNode) -> (A, B)
    where
        A: Deserialize<'de> + Default,
        B: Deserialize<'de> + Default,
    {
        (
            self.read_beside(node, Some(keys_of::<B>())),
            self.read_beside(node, None),
        )
    }

    /// `beside` are further keys of the table that somebody else reads; `None` passes over
    /// all keys that are not known, without a word.
    fn read_beside<'de, T: Deserialize<'de> + Default>(
        &self,
        node: &'de TomlNode,
        beside: Option<&'static [&'static str]>,
    ) -> T {
        for _ in 0..MAX_ROUNDS {
            let mistake = match T::deserialize(NodeReader {
                node,
                key: "",
                reader: self,
                beside,
            }) {
                Ok(value) => return value,
                Err(mistake) => mistake,
            };
            let left_out = mistake.left_out;
            self.note(mistake, node);
            match left_out {
                Some(id) if self.left_out.borrow_mut().insert(id) => {}
                _ => break,
            }
        }
        T::default()
    }

    fn note(&self, mistake: ReadError, node: &TomlNode) {
        if !mistake.told {
            let span = mistake.span.unwrap_or_else(|| node.span.clone());
            self.problems
                .error(Some(span), mistake.message, mistake.hint);
        }
    }

    /// Reads a value inside another, and says on failure which value it was.
    fn descend<'de, T: DeserializeSeed<'de>>(
        &self,
        (key, node): (&'de str, &'de TomlNode),
        seed: T,
    ) -> Result<T::Value, ReadError> {
        let at = NodeReader {
            node,
            key,
            reader: self,
            beside: Some(&[]),
        };
        seed.deserialize(at).map_err(|mut mistake| {
            mistake.left_out.get_or_insert(node.id);
            mistake.span.get_or_insert_with(|| node.span.clone());
            mistake
        })
    }

    /// Whether the value at `path`, one it stands in or one of its items could not be
    /// read: further complaints about it would be noise, or point at the wrong item.
    pub(crate) fn is_left_out(&self, root: &TomlNode, path: &TomlPath<'_>) -> bool {
        (0..=path.len())
            .filter_map(|end| root.find(path.get(..end)?))
            .any(|node| {
                let items = match &node.value {
                    TomlValue::List(items) => items.as_slice(),
                    _ => &[],
                };
                self.leaves_out(node) || items.iter().any(|item| self.leaves_out(item))
            })
    }

    fn leaves_out(&self, node: &TomlNode) -> bool {
        self.left_out.borrow().contains(&node.id)
    }
}

/// A value about to be read.
#[derive(Clone, Copy)]
struct NodeReader<'a, 'de> {
    node: &'de TomlNode,
    /// Empty for what has none.
    key: &'de str,
    reader: &'a SectionReader<'a>,
    beside: Option<&'static [&'static str]>,
}

/// What a value is or should be, in the language that is spoken here.
pub(crate) fn shown_kind(kind: &str) -> &str {
    match kind {
        "text" => pick("text", "字符串"),
        "a whole number" => pick("a whole number", "整数"),
        "a number" => pick("a number", "数字"),
        "true or false" => pick("true or false", " true 或 false"),
        "a date" => pick("a date", "日期"),
        "a list" => pick("a list", "列表"),
        "a table" => pick("a table", "表"),
        "a command line, or a list of words" => pick(
            "a command line, or a list of words",
            "一行命令，或由程序和参数组成的列表",
        ),
        "a text or a port number" => pick("a text or a port number", "字符串或端口号"),
        other => other,
    }
}

impl<'de> NodeReader<'_, 'de> {
    fn mistake(&self, message: String, hint: &str) -> ReadError {
        ReadError {
            span: Some(self.node.span.clone()),
            message,
            hint: hint.to_owned(),
            ..ReadError::default()
        }
    }

    fn expected(&self, what: &str) -> ReadError {
        let hint = match &self.node.value {
            TomlValue::Text(text)
                if (what.contains("number") || what.contains('数'))
                    && text.trim().parse::<i64>().is_ok() =>
            {
                pick("numbers stand without quotes", "数字不加引号")
            }
            TomlValue::Text(text)
                if what == "true or false" && matches!(&**text, "true" | "false") =>
            {
                pick(
                    "true and false stand without quotes",
                    "true 和 false 不加引号",
                )
            }
            TomlValue::Text(_) if what == "a table" && self.key == "app" => pick(
                "[app] describes the one app; of several under [apps], say which answers: \
                 routes = [{ path = \"/\", app = \"...\" }], or app = \"...\" under [sites.\"...\"]",
                "[app] 用来写唯一的应用；[apps] 里有多个时，要写明由哪个处理：routes = [{ path = \"/\", app = \"...\" }]，或在 [sites.\"...\"] 里写 app = \"...\"",
            ),
            TomlValue::Text(_) if what == "a table" && self.key == "miniapp" => pick(
                "[miniapp] describes the one mini program: appid and secret stand under it",
                "[miniapp] 用来写唯一的小程序：appid 和 secret 写在它下面",
            ),
            TomlValue::Table(_) if what == "text" => pick(
                "text may also come from { env = \"NAME\" } or { file = \"path\" }",
                "字符串也可以写成 { env = \"变量名\" } 或 { file = \"文件路径\" }",
            ),
            TomlValue::Whole(_) | TomlValue::Fraction(_) | TomlValue::Bool(_) | TomlValue::Date
                if what == "text" =>
            {
                pick("put it in quotes", "请加上引号")
            }
            _ => "",
        };
        let (what, found) = (shown_kind(what), shown_kind(self.node.kind()));
        let message = words!(
            "expected {what}, found {found}",
            "应为{what}，实际是{found}"
        );
        self.mistake(message, hint)
    }

    /// A whole number of type `T`, or a text with a unit that says one.
    fn whole<T: TryFrom<i128> + KeyBounds>(&self) -> Result<T, ReadError> {
        let unit = QuantityUnit::of_key(self.key);
        let found = match (&self.node.value, unit) {
            (TomlValue::Whole(number), _) => *number,
            (TomlValue::Text(text), Some(unit)) => match unit.read(text) {
                Ok(number) => i128::from(number),
                Err(QuantityError::Other) => return Err(self.expected(unit.wish())),
                Err(QuantityError::Broken) => {
                    let (key, counts) = (self.key, unit.counts());
                    let message = words!("`{key}` counts {counts}", "`{key}` 只能是{counts}");
                    return Err(self.mistake(message, ""));
                }
            },
            (_, Some(unit)) => return Err(self.expected(unit.wish())),
            (_, None) => return Err(self.expected("a whole number")),
        };
        T::try_from(found).map_err(|_| {
            let (least, most) = (T::LEAST, T::MOST);
            let message = match unit {
                Some(unit) if found < 0 => words!(
                    "expected {}, found {found}",
                    "应为{}，实际是 {found}",
                    unit.wish()
                ),
                _ => words!(
                    "expected a whole number from {least} to {most}, found {found}",
                    "应为 {least} 到 {most} 的整数，实际是 {found}"
                ),
            };
            self.mistake(message, "")
        })
    }

    /// A text, wherever it comes from.
    fn text(&self) -> Result<String, ReadError> {
        if let TomlValue::Text(text) = &self.node.value {
            return Ok(text.clone());
        }
        let Some((kind, name, place)) = secret_source::reference(self.node) else {
            return Err(self.expected("text"));
        };
        let fetched = self.reader.secrets.fetch(kind, name);
        let fetched = fetched.map_err(|missing| ReadError {
            span: Some(place.span.clone()),
            told: self.reader.secrets.spares(kind, self.key),
            ..self.mistake(missing.message, &missing.hint)
        })?;
        if let Some(risk) = fetched.warning {
            let span = Some(place.span.clone());
            self.reader.problems.warning(span, risk.message, risk.hint);
        }
        Ok(fetched.text)
    }

    fn list(&self) -> Result<ItemReader<'_, 'de>, ReadError> {
        match &self.node.value {
            TomlValue::List(items) => Ok(ItemReader {
                items: items.iter(),
                reader: self.reader,
            }),
            _ => Err(self.expected("a list")),
        }
    }

    fn table(
        &self,
        keys: Option<&'static [&'static str]>,
    ) -> Result<EntryReader<'_, 'de>, ReadError> {
        let TomlValue::Table(entries) = &self.node.value else {
            return Err(self.expected("a table"));
        };
        let known = |entry: &&'de TomlEntry| keys.is_none_or(|keys| keys.contains(&&*entry.key));
        if let (Some(keys), Some(beside)) = (keys, self.beside) {
            for entry in entries.iter().filter(|entry| !known(entry)) {
                if !beside.contains(&&*entry.key) {
                    let hint = key_hints::meant(&entry.key, keys.iter().chain(beside));
                    let message = words!("unknown key `{}`", "未知的键 `{}`", entry.key);
                    let span = Some(entry.key_span.clone());
                    self.reader.problems.error(span, message, hint);
                }
            }
        }
        let (whole, left_out): (Vec<_>, Vec<_>) = entries
            .iter()
            .filter(known)
            .partition(|entry| !self.reader.leaves_out(&entry.node));
        Ok(EntryReader {
            rest: whole.into_iter(),
            value: None,
            reader: self.reader,
            lacks: !left_out.is_empty(),
        })
    }
}

impl<'de> de::Deserializer<'de> for NodeReader<'_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            TomlValue::Text(text) => visitor.visit_str(text),
            TomlValue::Whole(_) => visitor.visit_i64(self.whole()?),
            TomlValue::Fraction(number) => visitor.visit_f64(*number),
            TomlValue::Bool(on) => visitor.visit_bool(*on),
            TomlValue::Date => Err(self.mistake(
                pick("no setting is a date", "没有任何设置项是日期").to_owned(),
                pick("put it in quotes", "请加上引号"),
            )),
            TomlValue::List(_) => visitor.visit_seq(self.list()?),
            TomlValue::Table(_) => visitor.visit_map(self.table(None)?),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.value {
            TomlValue::Bool(on) => visitor.visit_bool(on),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_i32(self.whole()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_i64(self.whole()?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u8(self.whole()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u16(self.whole()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u32(self.whole()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.whole()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(self.list()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_map(self.table(None)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let entries = self.table(Some(keys))?;
        let lacks = entries.lacks;
        visitor.visit_map(entries).map_err(|mistake| ReadError {
            // What is missing here was left out for a mistake of its own.
            told: mistake.told || (lacks && mistake.span.is_none()),
            ..mistake
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let wish = spelling::one_of(variants);
        let TomlValue::Text(text) = &self.node.value else {
            return Err(self.expected(&wish));
        };
        if !variants.contains(&text.as_str()) {
            let hint = spelling::nearest(text, variants).unwrap_or_default();
            return Err(self.mistake(words!("expected {wish}", "应为 {wish}"), &hint));
        }
        visitor.visit_enum(text.as_str().into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}

/// The items of a list.
struct ItemReader<'a, 'de> {
    items: std::slice::Iter<'de, TomlNode>,
    reader: &'a SectionReader<'a>,
}

impl<'de> SeqAccess<'de> for ItemReader<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let reader = self.reader;
        self.items
            .find(|item| !reader.leaves_out(item))
            .map(|item| reader.descend(("", item), seed))
            .transpose()
    }
}

/// The entries of a table.
struct EntryReader<'a, 'de> {
    rest: std::vec::IntoIter<&'de TomlEntry>,
    value: Option<&'de TomlEntry>,
    reader: &'a SectionReader<'a>,
    /// Whether some entry was left out.
    lacks: bool,
}

impl<'de> MapAccess<'de> for EntryReader<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some(entry) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(entry);
        seed.deserialize(entry.key.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        match self.value.take() {
            Some(entry) => self.reader.descend((&entry.key, &entry.node), seed),
            None => Err(de::Error::custom("a value was read before its key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::document;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct TestSection {
        count: u16,
        on: bool,
        name: String,
        mode: TestMode,
        names: Vec<String>,
        inner: BTreeMap<String, TestInner>,
        list: Vec<TestInner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct TestInner {
        size: u8,
        maybe: Option<i64>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum TestMode {
        #[default]
        Fast,
        VerySlow,
    }

    fn read<A, B>(text: &str) -> (A, B, Vec<String>)
    where
        A: for<'de> Deserialize<'de> + Default,
        B: for<'de> Deserialize<'de> + Default,
    {
        let doc = document::parse(text).expect("toml");
        let problems = ProblemList::new(std::path::Path::new("x"), text);
        let env = |name: &str| (name == "NAME").then(|| "env".to_owned());
        let secrets = SecretSource {
            env: &env,
            dir: std::path::PathBuf::new(),
            files: RefCell::default(),
            needs_secrets: true,
        };
        let (a, b) = SectionReader::new(&problems, &secrets).read_both(&doc);
        let found = problems.into_sorted();
        let told = found.iter().map(|problem| {
            let place = problem.place.as_ref().expect("a place");
            let hint = problem.hint.as_deref().unwrap_or("-");
            format!(
                "{}:{} {} ({hint})",
                place.line, place.column, problem.message
            )
        });
        let told = told.collect();
        (a, b, told)
    }

    #[test]
    fn a_right_section_is_read_whole() {
        let text = "count = 0x10\non = true\nname = { env = \"NAME\" }\nmode = \"very-slow\"\n\
                    names = [\"a\", \"b\"]\ninner.x.size = 1\n[[list]]\nsize = 2\nmaybe = -3\n";
        let (section, _, told): (TestSection, TestInner, _) = read(text);
        assert_eq!(told, Vec::<String>::new());
        let inner = |size, maybe| TestInner { size, maybe };
        let expected = TestSection {
            count: 16,
            on: true,
            name: "env".to_owned(),
            mode: TestMode::VerySlow,
            names: vec!["a".to_owned(), "b".to_owned()],
            inner: BTreeMap::from([("x".to_owned(), inner(1, None))]),
            list: vec![inner(2, Some(-3))],
        };
        assert_eq!(section, expected);
    }

    #[test]
    fn every_mistake_is_told_and_the_rest_is_read() {
        let text = "count = 70000\non = \"true\"\nname = 5\nmode = \"slow\"\n\
                    names = [1, \"b\", true]\ncuont = 1\n\
                    [inner.x]\nsize = \"1\"\nmaybe = 7\nsiez = 1\n[[list]]\nsize = -1\n[inner.y]\nsize = 9\n";
        let (section, _, told): (TestSection, TestInner, _) = read(text);
        assert_eq!(
            told,
            [
                "1:9 expected a whole number from 0 to 65535, found 70000 (-)",
                "2:6 expected true or false, found text (true and false stand without quotes)",
                "3:8 expected text, found a number (put it in quotes)",
                "4:8 expected \"fast\" or \"very-slow\" (-)",
                "5:10 expected text, found a number (put it in quotes)",
                "5:18 expected text, found true or false (put it in quotes)",
                "6:1 unknown key `cuont` (did you mean `count`?)",
                "8:8 expected a whole number, found text (numbers stand without quotes)",
                "10:1 unknown key `siez` (did you mean `size`?)",
                "12:8 expected a whole number from 0 to 255, found -1 (-)",
            ]
        );
        assert_eq!(section.names, ["b"]);
        assert_eq!(section.inner["x"].maybe, Some(7));
        assert_eq!(section.inner["y"].size, 9);
    }

    #[test]
    fn two_sections_share_one_table() {
        let (section, inner, told): (TestSection, TestInner, _) =
            read("count = 1\nsize = 2\nsizr = 3\n");
        assert_eq!((section.count, inner.size), (1, 2));
        assert_eq!(told, ["3:1 unknown key `sizr` (did you mean `size`?)"]);
    }

    #[test]
    fn a_missing_variable_is_told_at_its_name() {
        let (_, _, told): (TestSection, TestInner, _) = read("name = { env = \"OTHER\" }");
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("1:16 the environment variable OTHER is not set"));
    }
}
