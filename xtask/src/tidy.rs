//! `cargo xtask tidy`: the house rules that the compiler does not know.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{root, say};
use crate::{arrows, names, rings, times};

/// A file's budget of lines before its tests.
const FILE_LINES: usize = 600;

/// Checks every rule and names every breach.
pub(crate) fn check() -> Result<(), String> {
    let mut problems = arrows::problems()?;
    for file in rust_files(&root().join("crates"))
        .into_iter()
        .chain(rust_files(&root().join("xtask")))
    {
        source(&file, &mut problems);
    }
    for member in members() {
        manifest(&member, &mut problems);
    }
    sources(&mut problems);
    if problems.is_empty() {
        say("tidy");
        return Ok(());
    }
    problems.sort();
    Err(format!(
        "{}\n{} breaches of the house rules",
        problems.join("\n"),
        problems.len()
    ))
}

/// The first line tells what the file is; the file stays small enough to read; only the
/// apps room starts processes, and only the outbound room calls out.
fn source(file: &Path, problems: &mut Vec<String>) {
    let text = fs::read_to_string(file).unwrap_or_default();
    let name = shown(file);
    if !text.starts_with("//! ") {
        problems.push(format!("{name}:1: begin with `//!` and what this file is"));
    }
    let before_tests = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count();
    let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
    if before_tests > FILE_LINES && !is_test {
        problems.push(format!(
            "{name}: {before_tests} lines before its tests; the budget is {FILE_LINES}"
        ));
    }
    let may_start = ["crates/apps/", "xtask/"];
    let starts = text.contains("process::Command");
    if starts && !is_test && !may_start.iter().any(|place| name.starts_with(place)) {
        problems.push(format!("{name}: only crates/apps starts processes"));
    }
    let may_call_out = ["crates/outbound/", "crates/tunnel/src/world.rs", "xtask/"];
    let calls_out = text.contains("client::legacy") || text.contains("hyper_rustls");
    if calls_out && !is_test && !may_call_out.iter().any(|place| name.starts_with(place)) {
        problems.push(format!("{name}: calls go out through crates/outbound"));
    }
    // The clock's own numbers are made and moved in `base`.
    if !is_test && !name.starts_with("crates/base/") {
        for (line, time) in times::bare(&text) {
            problems.push(format!(
                "{name}:{line}: `{time}` is a UnixSecs, a UnixMillis or a Duration, no i64"
            ));
        }
    }
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let through_the_roof = line
            .strip_prefix("use crate::")
            .is_some_and(|path| path.starts_with(|c: char| c.is_ascii_uppercase()));
        if through_the_roof && !name.ends_with("lib.rs") {
            problems.push(format!(
                "{name}:{}: import from the module, not through the roof",
                number + 1
            ));
        }
    }
}

/// How the types of all rooms are named, and which files import each other.
fn sources(problems: &mut Vec<String>) {
    let mut all = Vec::new();
    let mut rooms: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in rust_files(&root().join("crates")) {
        let name = shown(&file);
        let Some((room, path)) = name
            .strip_prefix("crates/")
            .and_then(|name| name.split_once("/src/"))
        else {
            continue;
        };
        let text = fs::read_to_string(&file).unwrap_or_default();
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_test = path.ends_with("tests") || path.contains("tests/");
        // A crate's face only names what is inside.
        if !is_test && path != "lib" && path != "main" {
            let files = rooms.entry(room.to_owned()).or_default();
            files.insert(path.replace('/', "::"), text.clone());
        }
        if !is_test {
            all.push((PathBuf::from(&name), text));
        }
    }
    for (room, files) in &rooms {
        problems.extend(rings::problems(room, files));
    }
    problems.extend(names::problems(&all));
}

/// Every member takes the workspace's lints, and every dependency from the one list.
fn manifest(member: &Path, problems: &mut Vec<String>) {
    let file = member.join("Cargo.toml");
    let name = shown(&file);
    let text = fs::read_to_string(&file).unwrap_or_default();
    if !text.contains("[lints]\nworkspace = true") {
        problems.push(format!("{name}: add `[lints]` with `workspace = true`"));
    }
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && !line.trim().is_empty() && !line.contains("workspace = true") {
            problems.push(format!(
                "{name}: `{line}` belongs into the workspace's [workspace.dependencies]"
            ));
        }
    }
}

fn members() -> Vec<PathBuf> {
    let mut members: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    members.push(root().join("xtask"));
    members
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("node_modules") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
