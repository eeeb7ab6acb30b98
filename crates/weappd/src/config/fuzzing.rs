//! What must hold for any weappd.toml and any command line in it: the bodies of the fuzz
//! target, replayed by a test over the committed corpus (docs/fuzzing.md).
//!
//! weappd is a program, so the fuzz package takes `config` in by its path.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../../../../fuzz/feed.rs"]
mod feed;

use std::path::Path;

use crate::config::problem::{ConfigProblem, ProblemSeverity, render, to_json};
use crate::config::{check, mask};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("weappd_config", config)];

/// Gives an input to the target of this name.
#[cfg_attr(not(fuzzing), expect(dead_code, reason = "for the fuzz package"))]
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

fn config(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(4) {
        0 => drop(told(feed.rest())),
        1 | 2 => secrets(&mut feed),
        _ => words(&feed.text()),
    }
}

/// Every problem has its place in the text, can be drawn, and hides as much as it should.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Certificates and the like are read from where the file says: not from devices.
    if ["/dev", "/proc", "/sys"]
        .iter()
        .any(|place| text.contains(place))
    {
        return String::new();
    }
    let env = |name: &str| {
        name.starts_with("SET")
            .then(|| format!("the value of {name}"))
    };
    let path = Path::new("/nowhere/at/all/weappd.toml");
    let problems: Vec<ConfigProblem> = match check((path, bytes), true, &env, &|_| Vec::new()) {
        Ok(loaded) => {
            let errors = |problem: &&ConfigProblem| problem.severity == ProblemSeverity::Error;
            assert_eq!(loaded.warnings.iter().filter(errors).count(), 0);
            loaded.warnings
        }
        Err(problems) => {
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.severity == ProblemSeverity::Error)
            );
            problems
        }
    };
    let body = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let lines = body.split(|byte| *byte == b'\n').count();
    for problem in &problems {
        assert!(!problem.message.trim().is_empty());
        let Some(place) = &problem.place else {
            continue;
        };
        assert!(place.span.start <= place.span.end && place.span.end <= body.len());
        assert!((1..=lines).contains(&place.line) && place.column >= 1);
        assert!(to_json(problem)["line"].is_number());
    }
    let drawn = render(&problems, false);
    assert!(problems.is_empty() == drawn.is_empty());
    let masked = mask::secrets(&text);
    assert_eq!(masked.len(), text.len());
    let breaks = |text: &str| -> Vec<usize> { text.match_indices('\n').map(|at| at.0).collect() };
    assert_eq!(breaks(&masked), breaks(&text));
    assert!(
        masked
            .chars()
            .zip(text.chars())
            .all(|(shown, was)| shown == was || shown == '*')
            || !text.is_ascii()
    );
    drawn
}

/// A secret at a place for secrets, with anything but quotes before it and anything behind
/// it, right or wrong: it is never drawn.
fn secrets(feed: &mut Feed<'_>) {
    const SECRET: &str = "s3cretPassw0rd";
    let before: String = feed.text().replace(['"', '\'', '#'], "");
    let place = [
        "[miniapp]\nsecret = \"@\"",
        "[miniapp]\nappsecret = '@'",
        "[tunnel]\nkey = \"@\"",
        "[session]\nstore = \"mysql://root:@@db/cAuth\"",
        "[session]\nstore = \"mysql:root:@@db/cAuth\"",
        "[app]\nenv = { DB = \"@\" }",
        "[app.env]\nDB = \"@\"",
        "[app.env] # of the app\nDB = \"@\"",
        "[ app . env ]\nDB = \"@\"",
        "[app]\nenv.DB = \"@\"",
        "[app]\n\"env\".DB = \"@\"",
        "[app]\nenv = {\n DB = \"@\",\n}",
        "[apps.a.env]\n\"DB\" = \"@\"",
        "[miniapp]\nmessage_token = \"\"\"\n@\"\"\"",
        "[miniapp]\n\"secret\" = \"@\"",
        "[miniapp]\nsecret = @",
        "[miniapp]\nsecret = \"@",
        "miniapp = { appid = \"wx\", secret = \"@\" }",
        "miniapp.secret = \"@\"",
        "[[miniapp]]\nsecret= \"@\"",
    ][feed.below(20)];
    let behind = feed.text();
    let text = format!("{before}\n{}{behind}", place.replacen('@', SECRET, 1));
    let drawn = told(text.as_bytes());
    assert!(
        !drawn.contains(SECRET) || behind.contains(SECRET) || before.contains(SECRET),
        "{drawn}"
    );
}

/// A command line, split once more as POSIX says, letter by letter.
fn words(line: &str) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars().peekable();
    let mut is_open = false;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('"') | None, '\\') => match letters.next() {
                Some('\n') => {}
                Some(next) => {
                    let word = word.get_or_insert_default();
                    if quote.is_some() && !"\"\\`$".contains(next) {
                        word.push('\\');
                    }
                    word.push(next);
                }
                None => is_open = true,
            },
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    let split = weappd_apps::split(line);
    if is_open || quote.is_some() {
        assert!(split.is_err(), "{line}");
    } else {
        assert_eq!(split, Ok(words), "{line}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
