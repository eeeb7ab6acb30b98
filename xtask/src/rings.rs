//! Rings: files of one room that import each other in a circle, so that none can be read alone.

use std::collections::{BTreeMap, BTreeSet};

/// Files a ring may have, a parent module and its children.
const MOST: usize = 4;

/// The rings of one crate that are too large, or no family; `files` are (module path, text),
/// such as (`store::mysql`, ...).
pub(crate) fn problems(room: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let imports: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|(module, text)| (module.as_str(), imports(module, text, files)))
        .collect();
    let mut problems = Vec::new();
    for ring in rings(&imports) {
        if ring.len() > MOST || !is_family(&ring) {
            let ring: Vec<&str> = ring.into_iter().collect();
            problems.push(format!(
                "crates/{room}: {} files import each other in a ring: {}; move the small types \
                 they share to a file of their own",
                ring.len(),
                ring.join(", ")
            ));
        }
    }
    problems
}

/// A parent module and what is below it.
fn is_family(ring: &BTreeSet<&str>) -> bool {
    ring.iter().any(|parent| {
        let inside = |module: &&str| {
            let rest = module.strip_prefix(parent);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        ring.iter().all(inside)
    })
}

/// The modules that a file names, before its tests.
fn imports<'a>(module: &str, text: &str, files: &'a BTreeMap<String, String>) -> BTreeSet<&'a str> {
    let code: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = BTreeSet::new();
    for (mark, base) in [("crate::", ""), ("super::", parent), ("self::", module)] {
        for (at, _) in code.match_indices(mark) {
            let before = code.get(..at).and_then(|before| before.chars().last());
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = code.get(at + mark.len()..).unwrap_or_default();
            for path in paths(rest) {
                let whole = if base.is_empty() {
                    path
                } else {
                    format!("{base}::{path}")
                };
                found.extend(nearest(&whole, files).filter(|found| *found != module));
            }
        }
    }
    found
}

/// The paths that begin here: one, or those of a group in braces.
fn paths(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_path(c)).unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    let Some(group) = rest
        .strip_prefix('{')
        .filter(|_| first.is_empty() || first.ends_with(':'))
    else {
        return vec![first.trim_end_matches(':').to_owned()];
    };
    let group = group.split('}').next().unwrap_or_default();
    group
        .split([',', '{'])
        .map(|item| format!("{first}{}", item.trim()))
        .collect()
}

/// The file that holds what a path names: its longest part that is a module.
fn nearest<'a>(path: &str, files: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some((module, _)) = files.get_key_value(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// The sets of modules that reach each other.
fn rings<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|from| (*from, reached(from, imports)))
        .collect();
    let mut rings = BTreeSet::new();
    for (from, all) in &reach {
        let back = |to: &&&'a str| reach.get(**to).is_some_and(|all| all.contains(from));
        let ring: BTreeSet<&str> = all.iter().filter(back).copied().collect();
        if ring.len() > 1 {
            rings.insert(ring);
        }
    }
    rings.into_iter().collect()
}

fn reached<'a>(from: &str, imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
    while let Some(module) = open.pop() {
        if seen.insert(module) {
            open.extend(imports.get(module).into_iter().flatten());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let owned = |(module, text): &(&str, &str)| ((*module).to_owned(), (*text).to_owned());
        problems("room", &files.iter().map(owned).collect())
    }

    #[test]
    fn a_ring_of_strangers_is_named() {
        let found = of(&[
            ("hub", "use crate::lane::Lane;"),
            ("lane", "fn f(hub: &crate::push::Push) {}"),
            ("push", "use crate::{clock::Clock, hub::{Hub, X}};"),
            ("clock", ""),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|words| words.contains("hub, lane, push")));
    }

    #[test]
    fn a_parent_and_its_child_are_no_ring() {
        let family = [
            ("store", "use crate::store::mysql::Mysql;"),
            ("store::mysql", "use super::Store;\nuse crate::store::Row;"),
        ];
        assert_eq!(of(&family), Vec::<String>::new());
    }

    #[test]
    fn a_family_of_five_is_too_large() {
        let all = "use crate::a::b::X; use crate::a::c::X; use crate::a::d::X; use crate::a::e::X;";
        let mut files = vec![("a", all)];
        for child in ["a::b", "a::c", "a::d", "a::e"] {
            files.push((child, "use crate::a::X;"));
        }
        assert_eq!(of(&files).len(), 1);
    }

    #[test]
    fn tests_and_comments_import_nothing() {
        let none = of(&[
            ("a", "//! See [`crate::b::B`].\nuse crate::b::B;"),
            ("b", "/// [`crate::a`]\n#[cfg(test)]\nuse crate::a::A;"),
        ]);
        assert_eq!(none, Vec::<String>::new());
    }
}
