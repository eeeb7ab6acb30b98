//! Times have types: no moment and no span of milliseconds is a bare number.
//!
//! What a database or the wire holds is a number until it is read; the rule looks at what has
//! the name of a time: parameters, fields and constants.

/// Names of moments.
const MOMENTS: [&str; 9] = [
    "now",
    "at",
    "since",
    "until",
    "created",
    "came",
    "given",
    "timestamp",
    "unix_secs",
];
/// How the names of moments, and of numbers that say a unit, end.
const ENDS: [&str; 5] = ["_at", "_visit", "_login", "_millis", "_MILLIS"];
/// What may stand around the number.
const AROUND: [&str; 6] = ["&", "[", "Option<", "Vec<", "VecDeque<", "impl Fn() -> "];

/// The lines of `text`, counted from 1, that have a time as an `i64`, with its name.
pub(crate) fn bare(text: &str) -> Vec<(usize, &str)> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    let found = lines.enumerate().flat_map(|(at, line)| {
        let names = line.match_indices(": ").filter_map(move |(colon, _)| {
            let (before, after) = line.split_at(colon);
            let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_');
            let name = before.get(start.map_or(0, |start| start + 1)..)?;
            (is_time(name) && is_number(after.strip_prefix(": ")?)).then_some(name)
        });
        names.map(move |name| (at + 1, name))
    });
    found.collect()
}

fn is_time(name: &str) -> bool {
    MOMENTS.contains(&name) || ENDS.iter().any(|end| name.ends_with(end))
}

fn is_number(of: &str) -> bool {
    let mut of = of;
    while let Some(inner) = AROUND.iter().find_map(|around| of.strip_prefix(around)) {
        of = inner;
    }
    of.strip_prefix("i64")
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_a_bare_number_is_found() {
        let text = "fn due(&self, now: i64, most: i64) {}\n    pub(crate) renew_at: Option<i64>,\n\
                    const PAUSE_MILLIS: i64 = 3;\nfn wait(now: impl Fn() -> i64) {}\n    errcode: i64,\n\
                    let at: i64x = 1;\nfn rest(now: UnixMillis, pause: Duration) {}\n\
                    #[cfg(test)]\nfn of(now: i64) {}";
        let found = bare(text);
        let expected = [(1, "now"), (2, "renew_at"), (3, "PAUSE_MILLIS"), (4, "now")];
        assert_eq!(found, expected);
    }
}
