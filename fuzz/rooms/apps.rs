//! What must hold for any input to this room's parsers: the bodies of the fuzz target,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
mod feed;

use crate::environment::matches;
use crate::procfs::parse_stat;
use crate::spool::LineCutter;
use feed::Feed;

/// The targets of this room. Command lines are `weappd_config`'s.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("apps_texts", texts)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

fn texts(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(4) {
        0 | 1 => lines(&mut feed),
        2 => patterns(&feed.text(), &feed.text()),
        _ => stat(&mut feed),
    }
}

/// What an app writes: the same lines however the reads fall, none longer than it may be,
/// and nothing lost without being counted.
fn lines(feed: &mut Feed<'_>) {
    let max = usize::from(feed.byte()) + 1;
    let cuts = feed.field();
    let bytes = feed.rest();
    let mut plain = Vec::new();
    // Behind the last end of line there is a line only if there is something.
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = whole.split(|byte| *byte == b'\n');
    for line in lines.filter(|_| !bytes.is_empty()) {
        let kept = &line[..line.len().min(max)];
        let kept = kept.strip_suffix(b"\r").unwrap_or(kept);
        plain.push((kept.to_vec(), line.len().saturating_sub(max)));
    }
    for cuts in [&[][..], cuts] {
        let mut told = Vec::new();
        let mut keep = |line: &[u8], cut| told.push((line.to_vec(), cut));
        let mut cutter = LineCutter::new(max);
        let mut rest = bytes;
        for cut in cuts {
            let (now, later) = rest.split_at(usize::from(*cut).min(rest.len()));
            cutter.feed(now, &mut keep);
            rest = later;
        }
        cutter.feed(rest, &mut keep);
        cutter.finish(&mut keep);
        // A line end may fall between the reads: an empty line is a line either way.
        assert_eq!(told, plain, "{max} {cuts:?}");
    }
}

/// Names and patterns with `*`, letter by letter.
fn patterns(pattern: &str, name: &str) {
    // The plain way takes its time with many stars.
    if pattern.len() > 40 || name.len() > 60 {
        return;
    }
    let [pattern, name] = [pattern, name].map(str::to_ascii_uppercase);
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for letter in pattern.bytes() {
        let mut next = vec![false; name.len() + 1];
        for (at, _) in reached.iter().enumerate().filter(|(_, there)| **there) {
            if letter == b'*' {
                next[at..].fill(true);
            } else if name.as_bytes().get(at) == Some(&letter) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    assert_eq!(
        matches(&pattern, &name),
        reached[name.len()],
        "{pattern} {name}"
    );
}

/// A process's line: its name may hold anything, and is never taken for a number.
fn stat(feed: &mut Feed<'_>) {
    let (name, start, text) = (feed.text(), feed.number().unsigned_abs(), feed.text());
    let _ = parse_stat(1, &text);
    let line = format!(
        "7 ({name}) S 1 42 42 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 {start} 1000 5 18446744073709551615"
    );
    let entry = parse_stat(7, &line).expect(&line);
    assert_eq!((entry.identity.pid, entry.identity.start), (7, start));
    assert_eq!(entry.group, 42);
    assert!(!entry.zombie && !entry.kernel);
    // Cut off, it says less, and nothing else.
    let end = line.rfind(')').expect("a name") + 1;
    let cut = end + feed.below(line.len() - end);
    if let Some(less) = parse_stat(7, &line[..cut]) {
        assert_eq!(less.group, 42);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
