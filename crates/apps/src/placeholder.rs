//! `$PORT` in a command line: the one variable that is put in without a shell.

use std::ops::Range;

/// Puts the port in the place of `$PORT`, `${PORT}` and `${PORT:-3000}`. A shell does that by
/// itself.
pub(crate) fn with_port(words: &[String], port: u16) -> Vec<String> {
    if starts_shell(words) {
        return words.to_vec();
    }
    words.iter().map(|word| filled(word, port)).collect()
}

fn filled(word: &str, port: u16) -> String {
    let mut text = String::new();
    let mut rest = 0;
    for (place, name) in variables(word) {
        if name == "PORT" {
            text.push_str(&word[rest..place.start]);
            text.push_str(&port.to_string());
            rest = place.end;
        }
    }
    text + &word[rest..]
}

/// The variables of a command line that nobody puts in.
pub(crate) fn unfilled(words: &[String], has_port: bool) -> Vec<String> {
    if starts_shell(words) {
        return Vec::new();
    }
    let names = words.iter().flat_map(|word| variables(word));
    let names = names.filter(|(_, name)| !has_port || *name != "PORT");
    let mut names: Vec<_> = names.map(|(_, name)| name.to_owned()).collect();
    names.dedup();
    names
}

/// Whether the command is a shell that reads its script from an argument.
fn starts_shell(words: &[String]) -> bool {
    const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ash", "ksh"];
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let at = words
        .iter()
        .take(4)
        .position(|word| SHELLS.contains(&name(word).as_str()));
    // `-c`, or with others: `-ec`, `-lc`.
    let is_script = |word: &String| {
        word.strip_prefix('-')
            .is_some_and(|flags| !flags.starts_with('-') && flags.ends_with('c'))
    };
    at.is_some_and(|at| words[at + 1..].iter().any(is_script))
}

/// Where `$NAME`, `${NAME}` and `${NAME:-...}` stand in a word, and their names.
fn variables(word: &str) -> Vec<(Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(dollar) = word[from..].find('$') {
        let start = from + dollar;
        from = start + 1;
        let rest = &word[from..];
        let (braced, rest) = match rest.strip_prefix('{') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let name = &rest[..len];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let after = &rest[len..];
        let end = if braced {
            let Some(close) = after.find('}') else {
                continue;
            };
            let is_default = [":-", "-"].iter().any(|sign| after.starts_with(sign));
            if close > 0 && !is_default {
                continue;
            }
            from + 1 + len + close + 1
        } else {
            from + len
        };
        found.push((start..end, name));
        from = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        crate::command::split(line).unwrap()
    }

    #[test]
    fn the_port_is_put_in_without_a_shell() {
        for (line, wanted) in [
            (
                "gunicorn -b 127.0.0.1:$PORT app:app",
                "gunicorn -b 127.0.0.1:7 app:app",
            ),
            ("uvicorn app:app --port=${PORT}", "uvicorn app:app --port=7"),
            ("hypercorn -b :${PORT:-8000} a", "hypercorn -b :7 a"),
            ("a $PORT$PORT ${PORT-1}x", "a 77 7x"),
            (
                "a $PORTS $PORT_2 ${PORTS} $ $$ $1 ${ 节$PORT",
                "a $PORTS $PORT_2 ${PORTS} $ $$ $1 ${ 节7",
            ),
            ("a ${PORT:+x} ${PORT", "a ${PORT:+x} ${PORT"),
        ] {
            assert_eq!(with_port(&words(line), 7).join(" "), wanted, "{line}");
        }
        let shell = words("sh -c 'for PORT in 1 2; do echo $PORT; done'");
        assert_eq!(with_port(&shell, 7), shell);
    }

    #[test]
    fn what_only_a_shell_would_put_in_is_found() {
        let none: [&str; 0] = [];
        for (line, has_port, wanted) in [
            ("node $HOME/app.js --port $PORT", true, &["HOME"][..]),
            ("node $HOME/app.js --port $PORT", false, &["HOME", "PORT"]),
            ("node ${APP_DIR:-.}/app.js", true, &["APP_DIR"]),
            ("grep ^a$ $1", true, &none),
            ("bash -lc 'exec node $HOME/app.js'", true, &none),
            ("/usr/bin/env sh -ec 'node $HOME'", true, &none),
            ("sh $HOME/start.sh", true, &["HOME"]),
        ] {
            assert_eq!(unfilled(&words(line), has_port), wanted, "{line}");
        }
    }
}
