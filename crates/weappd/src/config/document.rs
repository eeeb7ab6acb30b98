//! weappd.toml as a tree in which every key and value knows where it stands.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A value and its place in the text.
#[derive(Debug)]
pub(crate) struct TomlNode {
    /// Tells nodes of one document apart.
    pub(crate) id: usize,
    /// Where it stands.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) value: TomlValue,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum TomlValue {
    Text(String),
    /// A whole number; one that no setting could hold is the largest of all.
    Whole(i128),
    Fraction(f64),
    Bool(bool),
    Date,
    List(Vec<TomlNode>),
    Table(Vec<TomlEntry>),
}

/// A key and its value.
#[derive(Debug)]
pub(crate) struct TomlEntry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: TomlNode,
}

/// A step down the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathStep<'a> {
    Key(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for PathStep<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for PathStep<'_> {
    fn from(at: usize) -> Self {
        Self::At(at)
    }
}

/// The way to a value: keys of tables and places in lists.
pub(crate) type TomlPath<'a> = [PathStep<'a>];

/// Reads a text; on failure, every syntax error with its place.
pub(crate) fn parse(text: &str) -> Result<TomlNode, Vec<(String, Range<usize>)>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = table.span();
        let mut next = 0;
        return Ok(from_table(table.into_inner(), span, &mut next));
    }
    Err(errors
        .into_iter()
        .map(|error| {
            let end = text.len();
            (error.message().to_owned(), error.span().unwrap_or(end..end))
        })
        .collect())
}

fn take_id(next: &mut usize) -> usize {
    *next += 1;
    *next
}

fn from_table(table: DeTable<'_>, span: Range<usize>, next: &mut usize) -> TomlNode {
    let id = take_id(next);
    let mut entries: Vec<TomlEntry> = table
        .into_iter()
        .map(|(key, value)| TomlEntry {
            key_span: key.span(),
            key: key.into_inner().into_owned(),
            node: from_value(value.span(), value.into_inner(), next),
        })
        .collect();
    // The file's order, in which later parts of weappd read the sites.
    entries.sort_by_key(|entry| entry.key_span.start);
    let value = TomlValue::Table(entries);
    TomlNode { id, span, value }
}

fn from_value(span: Range<usize>, value: DeValue<'_>, next: &mut usize) -> TomlNode {
    let value = match value {
        DeValue::Table(table) => return from_table(table, span, next),
        DeValue::String(text) => TomlValue::Text(text.into_owned()),
        DeValue::Integer(number) => TomlValue::Whole(
            i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
        ),
        DeValue::Float(number) => TomlValue::Fraction(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(on) => TomlValue::Bool(on),
        DeValue::Datetime(_) => TomlValue::Date,
        DeValue::Array(items) => TomlValue::List(
            items
                .into_iter()
                .map(|item| from_value(item.span(), item.into_inner(), next))
                .collect(),
        ),
    };
    let id = take_id(next);
    TomlNode { id, span, value }
}

impl TomlNode {
    /// A table with nothing in it, for a section that is not there.
    pub(crate) fn empty() -> Self {
        Self {
            id: 0,
            span: 0..0,
            value: TomlValue::Table(Vec::new()),
        }
    }

    /// The entries of a table; none of anything else.
    pub(crate) fn entries(&self) -> &[TomlEntry] {
        match &self.value {
            TomlValue::Table(entries) => entries,
            _ => &[],
        }
    }

    fn entry(&self, key: &str) -> Option<&TomlEntry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value at `path`.
    pub(crate) fn find(&self, path: &TomlPath<'_>) -> Option<&TomlNode> {
        path.iter().try_fold(self, |node, step| match step {
            PathStep::Key(key) => node.entry(key).map(|entry| &entry.node),
            PathStep::At(at) => match &node.value {
                TomlValue::List(items) => items.get(*at),
                _ => None,
            },
        })
    }

    /// Where to point for a problem with the value at `path`: the value, or the key of a
    /// table, or the nearest thing above that exists.
    pub(crate) fn place(&self, path: &TomlPath<'_>) -> Option<Range<usize>> {
        let mut node = self;
        let mut place = None;
        for step in path {
            match (step, &node.value) {
                (PathStep::Key(key), TomlValue::Table(_)) => {
                    let Some(entry) = node.entry(key) else { break };
                    node = &entry.node;
                    place = Some(match node.value {
                        TomlValue::Table(_) => entry.key_span.clone(),
                        _ => node.span.clone(),
                    });
                }
                (PathStep::At(at), TomlValue::List(items)) => {
                    let Some(item) = items.get(*at) else { break };
                    node = item;
                    place = Some(item.span.clone());
                }
                _ => break,
            }
        }
        place
    }

    /// What a person would call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            TomlValue::Text(_) => "text",
            TomlValue::Whole(_) | TomlValue::Fraction(_) => "a number",
            TomlValue::Bool(_) => "true or false",
            TomlValue::Date => "a date",
            TomlValue::List(_) => "a list",
            TomlValue::Table(_) => "a table",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[sites.\"z.com\"]\nroutes = [{ path = \"/\" }]\n[sites.b]\n";

    #[test]
    fn every_value_has_its_place() {
        let doc = parse(TEXT).expect("toml");
        let path = [
            PathStep::Key("sites"),
            PathStep::Key("z.com"),
            PathStep::Key("routes"),
            PathStep::At(0),
            PathStep::Key("path"),
        ];
        let place = |steps: usize| doc.place(&path[..steps]).map(|span| &TEXT[span]);
        assert_eq!(place(5), Some("\"/\""));
        assert_eq!(place(4), Some("{ path = \"/\" }"));
        assert_eq!(place(2), Some("\"z.com\""));
        assert_eq!(
            doc.place(&["a".into(), "b".into()]).map(|s| &TEXT[s]),
            Some("1")
        );
        assert_eq!(doc.place(&["nothing".into()]), None);
        assert!(doc.find(&path).is_some());
    }

    #[test]
    fn tables_keep_the_order_of_the_file() {
        let doc = parse(TEXT).expect("toml");
        let sites = doc.find(&["sites".into()]).expect("sites");
        let keys: Vec<_> = sites.entries().iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["z.com", "b"]);
    }

    #[test]
    fn all_syntax_errors_are_told() {
        let errors = parse("a = \nb = 1\nc = \"x\nd = 2\n").expect_err("broken");
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
