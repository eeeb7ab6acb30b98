//! Which keys a weappd.toml sets, and whether two of them set the same: what a reload tells.
//!
//! Values are kept as hashes alone, so that no secret stays here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;

use crate::config::document::{TomlNode, TomlValue};

/// The keys that are set, as people write them (`edge.max_body_bytes`), and what of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenKeys(BTreeMap<String, u64>);

impl WrittenKeys {
    /// The keys of a document.
    pub(crate) fn of(doc: &TomlNode) -> Self {
        let mut keys = BTreeMap::new();
        note(doc, &mut String::new(), &mut keys);
        Self(keys)
    }

    /// The keys that are set in one of the two only, or otherwise.
    pub(crate) fn changes(&self, next: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|key| !next.0.contains_key(*key));
        let other = (next.0.iter()).filter(|(key, value)| self.0.get(*key) != Some(value));
        let mut changed: Vec<String> = gone.chain(other.map(|(key, _)| key)).cloned().collect();
        changed.sort();
        changed
    }
}

fn note(node: &TomlNode, path: &mut String, keys: &mut BTreeMap<String, u64>) {
    let TomlValue::Table(entries) = &node.value else {
        keys.insert(path.clone(), hash(&node.value));
        return;
    };
    for entry in entries {
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&written(&entry.key));
        note(&entry.node, path, keys);
        path.truncate(length);
    }
}

/// A key as it must be written: in quotes if it has other than letters, digits, `-` and `_`.
fn written(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// The same for equal values, in this process alone.
fn hash(value: &TomlValue) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let mut hasher = KEYS.get_or_init(RandomState::new).build_hasher();
    feed(value, &mut hasher);
    hasher.finish()
}

fn feed(value: &TomlValue, hasher: &mut impl std::hash::Hasher) {
    let mut text = |kind: u8, bytes: &[u8]| {
        hasher.write_u8(kind);
        hasher.write_usize(bytes.len());
        hasher.write(bytes);
    };
    match value {
        TomlValue::Text(words) => text(0, words.as_bytes()),
        TomlValue::Whole(number) => text(1, &number.to_le_bytes()),
        TomlValue::Fraction(number) => text(2, &number.to_bits().to_le_bytes()),
        TomlValue::Bool(on) => text(3, &[u8::from(*on)]),
        TomlValue::Date => text(4, &[]),
        TomlValue::List(items) => {
            text(5, &items.len().to_le_bytes());
            for item in items {
                feed(&item.value, hasher);
            }
        }
        TomlValue::Table(entries) => {
            text(6, &entries.len().to_le_bytes());
            for entry in entries {
                hasher.write(entry.key.as_bytes());
                hasher.write_u8(0xff);
                feed(&entry.node.value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;

    fn keys(text: &str) -> WrittenKeys {
        WrittenKeys::of(&document::parse(text).expect("TOML"))
    }

    #[test]
    fn what_changed_is_named_by_its_key() {
        let before = keys(
            "domain = 'a.example.com'\n[miniapp]\nappid = 'wx1'\nsecret = 's3cret'\n\
             [sites.\"b.example.com\"]\nproxy = ['127.0.0.1:1']\n[edge]\nhttp2 = true\n",
        );
        assert_eq!(before.changes(&before.clone()), [] as [&str; 0]);
        // Order and spelling are no change.
        let same = keys(
            "domain = \"a.example.com\"\nminiapp = { secret = \"s3cret\", appid = \"wx1\" }\n\
             edge.http2 = true\nsites.\"b.example.com\".proxy = [ '127.0.0.1:1' ]\n",
        );
        assert_eq!(before.changes(&same), [] as [&str; 0]);
        let after = keys(
            "domain = 'a.example.com'\n[miniapp]\nappid = 'wx1'\nsecret = 'other'\n\
             [sites.\"b.example.com\"]\nproxy = ['127.0.0.1:2']\n[files]\nenabled = false\n",
        );
        assert_eq!(
            before.changes(&after),
            [
                "edge.http2",
                "files.enabled",
                "miniapp.secret",
                "sites.\"b.example.com\".proxy"
            ]
        );
        assert!(!format!("{after:?}").contains("other"));
    }

    #[test]
    fn lists_of_tables_are_one_key() {
        let one = keys("[[site.routes]]\npath = '/a'\n[[site.routes]]\npath = '/b'\n");
        let two = keys("[[site.routes]]\npath = '/a'\n[[site.routes]]\npath = '/c'\n");
        assert_eq!(one.changes(&two), ["site.routes"]);
    }
}
