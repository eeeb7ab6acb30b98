//! How types are named: two words of the field, and one meaning in the whole workspace.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names that every room may use for its own type.
const COMMON: [&str; 3] = ["Error", "Config", "Shared"];
/// How many types of a hundred may have a name of one word.
const ONE_WORD_PERCENT: usize = 12;
/// How many types of a hundred may share their name with another type.
const SHARED_PERCENT: usize = 7;

/// Where each name is defined.
type Definitions = BTreeMap<String, Vec<String>>;

/// What is wrong with the names of all types in `files` of (shown path, text).
pub(crate) fn problems(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut all = Definitions::new();
    for (file, text) in files {
        for name in types(text).filter(|name| !COMMON.contains(name)) {
            let place = file.display().to_string();
            all.entry(name.to_owned()).or_default().push(place);
        }
    }
    let total: usize = all.values().map(Vec::len).sum();
    let one_word = all.iter().filter(|(name, _)| is_one_word(name));
    let shared = all.iter().filter(|(_, places)| places.len() > 1);
    let mut problems = Vec::new();
    problems.extend(too_many(
        "have a name of one word",
        one_word,
        total,
        ONE_WORD_PERCENT,
    ));
    problems.extend(too_many("share their name", shared, total, SHARED_PERCENT));
    problems
}

/// The breach, with the names that are used most often.
fn too_many<'a>(
    what: &str,
    which: impl Iterator<Item = (&'a String, &'a Vec<String>)>,
    total: usize,
    percent: usize,
) -> Option<String> {
    let mut which: Vec<_> = which.collect();
    let count: usize = which.iter().map(|(_, places)| places.len()).sum();
    if count * 100 <= percent * total {
        return None;
    }
    which.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    let some: Vec<String> = which
        .iter()
        .take(8)
        .map(|(name, places)| format!("{name} ({})", places.join(", ")))
        .collect();
    Some(format!(
        "names: {count} of {total} types {what}, more than {percent} of a hundred; among them {}",
        some.join("; ")
    ))
}

/// The types that a file defines before its tests.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let mut word = words.next()?;
        if word.starts_with("pub") {
            // `pub(in crate::x)` is two words.
            word = words.find(|word| !word.ends_with(')'))?;
        }
        // An indented `type` belongs to a trait.
        let inner = line.starts_with(' ') && word == "type";
        if inner || !["struct", "enum", "trait", "type", "union"].contains(&word) {
            return None;
        }
        let name = words.next()?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = name.get(..end.unwrap_or(name.len()))?;
        name.starts_with(|c: char| c.is_ascii_uppercase())
            .then_some(name)
    })
}

fn is_one_word(name: &str) -> bool {
    let starts = name.chars().zip(name.chars().skip(1));
    // `TLSStream` counts as two: a capital after a small letter, or before one.
    let inner = starts.filter(|(a, b)| a.is_lowercase() && b.is_uppercase());
    inner.count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        let files: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| (PathBuf::from(format!("{at}.rs")), (*text).to_owned()))
            .collect();
        problems(&files)
    }

    /// So many types with names as they should be.
    fn many(count: u8) -> String {
        let letters = (b'a'..).take(usize::from(count)).map(char::from);
        let types: Vec<String> = letters.map(|at| format!("struct TunnelId{at};")).collect();
        types.join("\n")
    }

    #[test]
    fn types_are_found_before_the_tests() {
        let text = "pub(crate) struct TunnelId(u8);\nenum A<T> {}\n    type Item = u8;\n\
                    pub(in crate::x) trait Read: Sized {}\nstruct lower;\n// struct Comment\n\
                    #[cfg(test)]\nstruct Test;";
        let found: Vec<&str> = types(text).collect();
        assert_eq!(found, ["TunnelId", "A", "Read"]);
    }

    #[test]
    fn names_of_one_word_and_shared_names_are_counted() {
        let good = format!("struct Hub;\n{}", many(20));
        assert_eq!(
            of(&[&good, "struct PushQueue;"]),
            [""; 0],
            "one of twenty-two"
        );
        let one_word = of(&[&format!(
            "struct Hub;\nstruct Desk;\nstruct Way;\n{}",
            many(10)
        )]);
        assert!(one_word.iter().any(|words| words.contains("one word")));
        let shared = of(&["struct PushQueue;", "struct PushQueue;"]);
        assert!(shared.iter().any(|words| words.contains("0.rs, 1.rs")));
    }

    #[test]
    fn every_room_may_have_an_error_and_a_config() {
        assert!(
            of(&[
                "enum Error {}\nstruct Config;",
                "enum Error {}\nstruct Config;"
            ])
            .is_empty()
        );
    }
}
