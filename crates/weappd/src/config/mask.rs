//! Hides secrets in the text of weappd.toml before any of it is shown.
//!
//! Works on the bare text, because a file that cannot be parsed is shown too. Every hidden
//! character becomes as many `*` as it has bytes, so that places stay true.

use std::{ops::Range, path::Path};

use weappd_base::secret::is_secret_name;

/// The text with everything hidden that is or may be a secret.
pub(crate) fn secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for hidden in (SecretScan {
        text,
        at: 0,
        key: String::new(),
        env: EnvLine::No,
        is_value: false,
    }) {
        out.push_str(text.get(at..hidden.start).unwrap_or_default());
        let words = text.get(hidden.clone()).unwrap_or_default();
        out.extend(words.chars().flat_map(|c| {
            let (shown, count) = if c == '\n' {
                ('\n', 1)
            } else {
                ('*', c.len_utf8())
            };
            std::iter::repeat_n(shown, count)
        }));
        at = hidden.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// A message with the user and password of each address in it hidden.
pub(crate) fn logins(message: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'');
    let words = message.split_inclusive(ends).map(|word| {
        let Some((head, host)) = word.rsplit_once('@') else {
            return word.to_owned();
        };
        match head.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{host}"),
            None if head.contains(':') => format!("***@{host}"),
            None => word.to_owned(),
        }
    });
    words.collect()
}

/// Whether a name is one that somebody generated, and may be the secret itself, written where
/// its variable or its file is named.
pub(crate) fn is_no_name(name: &str) -> bool {
    let is_upper = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    let is_variable = name.bytes().all(is_upper) && !name.starts_with(|c: char| c.is_numeric());
    looks_random(name) && (!is_variable || name.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// Whether the scan stands among the variables of an app, all of which may be secrets, or
/// within a table where a secret should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EnvLine {
    No,
    /// Until the next table header.
    Table,
    /// Until the closing brace.
    Inline,
    /// The same, but for the names of variables and files.
    Secret,
}

/// Walks over the text from one hidden stretch to the next.
struct SecretScan<'a> {
    text: &'a str,
    at: usize,
    /// The last key seen before a `=`.
    key: String,
    env: EnvLine,
    /// Whether an equals sign has been read, and what follows is its value.
    is_value: bool,
}

impl Iterator for SecretScan<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut word = self.at;
        loop {
            let rest = self.text.get(self.at..)?;
            let c = rest.chars().next()?;
            match c {
                '"' | '\'' => {
                    let (inside, end) = quoted(self.text, self.at, c);
                    let is_key = !self.is_value
                        && self.text[end..]
                            .trim_start_matches([' ', '\t'])
                            .starts_with(['=', '.']);
                    self.at = end;
                    if let Some(hidden) = self.judge(inside).filter(|_| !is_key) {
                        return Some(hidden);
                    }
                    continue;
                }
                // A full-width one is meant as one, and a colon too.
                '=' | '＝' | ':' | '：' if c == '=' || self.begins_value(word) => {
                    let key = self.text.get(word..self.at).unwrap_or_default();
                    key.trim_matches(|c: char| !c.is_alphanumeric() && c != '_')
                        .clone_into(&mut self.key);
                    self.at += c.len_utf8();
                    self.is_value = true;
                    word = self.at;
                    if let Some(hidden) = self.unquoted() {
                        return Some(hidden);
                    }
                    continue;
                }
                '[' | '【' | '［' if self.starts_line() => {
                    let header = rest.lines().next().unwrap_or_default();
                    let plain = header.replace([' ', '\t', '"', '\'', '“', '”'], "");
                    let ends = [".env]", ".env】", ".env］"];
                    self.env = if ends.iter().any(|end| plain.contains(end)) {
                        EnvLine::Table
                    } else {
                        EnvLine::No
                    };
                    if let Some(length) = header_length(header) {
                        self.key.clear();
                        self.at += length;
                        word = self.at;
                        continue;
                    }
                }
                '{' if last(&self.key) == "env" => self.env = EnvLine::Inline,
                '{' if self.is_value && self.env == EnvLine::No && holds_secret(&self.key) => {
                    self.env = EnvLine::Secret;
                }
                '}' if matches!(self.env, EnvLine::Inline | EnvLine::Secret) => {
                    self.env = EnvLine::No;
                }
                '\n' | ',' | '{' | '[' | '#' => word = self.at + 1,
                _ => {}
            }
            self.is_value &= !matches!(c, '\n' | ',' | '{');
            self.at += c.len_utf8();
        }
    }
}

/// The length of a table's header, in which no secret stands.
fn header_length(line: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ']') => {
                let end =
                    at + line.get(at..)?.len() - line.get(at..)?.trim_start_matches(']').len();
                let rest = line.get(end..)?.trim_start();
                return (rest.is_empty() || rest.starts_with('#')).then_some(end);
            }
            (None, '=' | ',' | '{' | '#') => return None,
            _ => {}
        }
    }
    None
}

impl SecretScan<'_> {
    /// Whether a bare key that begins at `word` ends here, on a line of its own.
    fn begins_value(&self, word: usize) -> bool {
        let key = self.text.get(word..self.at).unwrap_or_default();
        let before = self.text.get(..word).unwrap_or_default();
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '\t' | '\r');
        !self.is_value
            && !key.trim().is_empty()
            && key.chars().all(plain)
            && before
                .chars()
                .next_back()
                .is_none_or(|c| matches!(c, '\n' | '#'))
    }

    /// Whether what is read now is a variable of an app, as in `env.NAME = "..."` too.
    fn is_env(&self) -> bool {
        let mut parts = self.key.rsplit('.').skip(1);
        match self.env {
            EnvLine::No => parts.any(|part| bare(part) == "env"),
            EnvLine::Secret => !matches!(last(&self.key), "env" | "file"),
            EnvLine::Table | EnvLine::Inline => true,
        }
    }

    fn starts_line(&self) -> bool {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.trim().is_empty()
    }

    /// A value without quotes after a key that names a secret: broken, and hidden anyway.
    fn unquoted(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.at..)?;
        let start = self.at + rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let value = self.text.get(start..)?;
        let quoted_or_nested = value.starts_with(['"', '\'', '{', '[', '\r', '\n']);
        let hide = names_secret(&self.key) || self.is_env();
        if quoted_or_nested || value.is_empty() {
            return None;
        }
        let line = value.lines().next().unwrap_or_default();
        let hidden = if hide {
            0..line.len()
        } else {
            self.password(line)?
        };
        self.at = start + hidden.end;
        Some(start + hidden.start..start + hidden.end)
    }

    /// What of a quoted text must be hidden.
    fn judge(&self, inside: Range<usize>) -> Option<Range<usize>> {
        let value = self.text.get(inside.clone())?;
        let is_path = value.contains('/') || Path::new(value).extension().is_some();
        if self.is_env()
            || (names_secret(&self.key) && !(last(&self.key) == "key" && is_path))
            || looks_random(value)
        {
            return Some(inside).filter(|range| !range.is_empty());
        }
        let hidden = self.password(value)?;
        Some(inside.start + hidden.start..inside.start + hidden.end)
    }

    /// The `user:password` of an address.
    fn password(&self, value: &str) -> Option<Range<usize>> {
        let start = match value.find("://") {
            Some(at) => at + 3,
            // A slash forgotten makes it no less of a password.
            None => value.find(':')? + 1,
        };
        let rest = value.get(start..)?;
        let end = match rest.rfind('@') {
            Some(at) => at,
            // Nor does a forgotten @.
            None if last(&self.key) == "store" && !value.starts_with("sqlite") => {
                rest.rfind('/').unwrap_or(rest.len())
            }
            None => return None,
        };
        Some(start..start + end)
    }
}

/// The inside of a quoted text that begins at `start`, and where what follows begins. One
/// without an end reaches to the end of its line.
fn quoted(text: &str, start: usize, quote: char) -> (Range<usize>, usize) {
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let rest = text.get(start..).unwrap_or_default();
    let (open, many_lines) = if rest.starts_with(&triple) {
        (3, true)
    } else {
        (1, false)
    };
    let close = if many_lines {
        triple.as_str()
    } else {
        triple.get(..1).unwrap_or_default()
    };
    let body = rest.get(open..).unwrap_or_default();
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if body.get(at..).is_some_and(|left| left.starts_with(close)) {
            let end = start + open + at;
            return (start + open..end, end + close.len());
        } else if c == '\n' && !many_lines {
            let end = start + open + at;
            return (start + open..end, end);
        }
    }
    (start + open..text.len(), text.len())
}

/// The last part of a dotted key.
fn last(key: &str) -> &str {
    bare(key.rsplit('.').next().unwrap_or_default())
}

/// A part of a key without its quotes.
fn bare(part: &str) -> &str {
    part.trim_matches([' ', '\t', '"', '\''])
}

/// Whether a key names a secret, also when misspelt a little.
fn names_secret(key: &str) -> bool {
    let key = last(key);
    let plain = key.to_ascii_lowercase().replace(['_', '-'], "");
    is_secret_name(key)
        || ["key", "password", "passwd", "pass", "pwd", "token"]
            .iter()
            .any(|word| plain.ends_with(word))
        || (plain.len() > 3
            && ["secret", "appsecret", "token", "tokenkey", "password"]
                .iter()
                .any(|word| strsim::damerau_levenshtein(&plain, word) <= 2))
}

/// Whether what stands under a key may be a secret.
fn holds_secret(key: &str) -> bool {
    last(key) == "store" || names_secret(key)
}

/// Whether a text looks like a key that somebody generated.
fn looks_random(value: &str) -> bool {
    value.len() >= 16
        && !value.starts_with("wx")
        && value.bytes().any(|c| c.is_ascii_digit())
        && value.bytes().any(|c| c.is_ascii_alphabetic())
        && value
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_hidden_in_messages() {
        for (message, shown) in [
            (
                "`http://u:p@h:80/` is no host",
                "`http://***@h:80/` is no host",
            ),
            ("\"redis://:p@q@h\" and a", "\"redis://***@h\" and a"),
            ("`u:p@h:80`: no", "`***@h:80`: no"),
            ("mail me@a.com: now", "mail me@a.com: now"),
        ] {
            assert_eq!(logins(message), shown);
        }
    }

    #[test]
    fn a_secret_in_the_place_of_a_name_is_known() {
        for name in [
            "0ec2e70f7e57a99000000000c0ffee11",
            "FEC2E70F7E57A99000000000C0FFEE11",
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
        ] {
            assert!(is_no_name(name), "{name}");
        }
        for name in [
            "WEAPP_SECRET",
            "WEAPP_SECRET_2026_07",
            "shop.secret",
            "secrets/1",
        ] {
            assert!(!is_no_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_hidden_and_places_stay() {
        for (text, shown) in [
            ("secret = \"abc\" # x", "secret = \"***\" # x"),
            ("secert = 'abc'", "secert = '***'"),
            ("secret = abc\nb = 1", "secret = ***\nb = 1"),
            ("secret = \"abc\nb = 1", "secret = \"***\nb = 1"),
            ("secret = \"\"\"a\nb\"\"\"", "secret = \"\"\"*\n*\"\"\""),
            ("secret = \"a\\\"bc\"", "secret = \"*****\""),
            (
                "[miniapp]\nappsecret = '三'",
                "[miniapp]\nappsecret = '***'",
            ),
            ("# secret = \"abc\"", "# secret = \"***\""),
            (
                "{ host = \"h\", key = \"abc\" }",
                "{ host = \"h\", key = \"***\" }",
            ),
            ("secret = \"abc\" = 1", "secret = \"***\" = 1"),
            ("token_key = \"abc\"", "token_key = \"***\""),
            (
                "env = { A = \"b\" }\nrun = \"c\"",
                "env = { A = \"*\" }\nrun = \"c\"",
            ),
            (
                "[app.env]\nA = \"b\"\n[log]\nlevel = \"c\"",
                "[app.env]\nA = \"*\"\n[log]\nlevel = \"c\"",
            ),
            ("store = \"mysql:u:p@h/d\"", "store = \"mysql:***@h/d\""),
            ("store = \"mysql://u:p/d\"", "store = \"mysql://***/d\""),
            ("store = \"mysql:u:p\"", "store = \"mysql:***\""),
            (
                "store = mysql://u:p@h/d\nb = 1",
                "store = mysql://***@h/d\nb = 1",
            ),
            ("a = x://u:p@h\nb = 1", "a = x://***@h\nb = 1"),
            ("miniapp.secret = \"abc\"", "miniapp.secret = \"***\""),
            (
                "secret = { value = \"abc\" }\na = \"b\"",
                "secret = { value = \"***\" }\na = \"b\"",
            ),
            (
                "store = { env = \"X\", pw = \"abc\" }",
                "store = { env = \"X\", pw = \"***\" }",
            ),
            ("secret = { env = \"X\" }", "secret = { env = \"X\" }"),
            ("[app.env] # x\nA = \"b\"", "[app.env] # x\nA = \"*\""),
            (
                "[ apps.\"a.b\" . env ]\nA = \"b\"",
                "[ apps.\"a.b\" . env ]\nA = \"*\"",
            ),
            ("[app]\nenv.A = \"b\"", "[app]\nenv.A = \"*\""),
            ("[app]\n\"env\".A = b", "[app]\n\"env\".A = *"),
            (
                "secret = \n\"env\".A = \"b\"",
                "secret = \n\"env\".A = \"*\"",
            ),
            ("app.env = { A = \"b\" }", "app.env = { A = \"*\" }"),
            ("store = \"mysql://u:p@h/d\"", "store = \"mysql://***@h/d\""),
            ("secret ＝ \"abc\"", "secret ＝ \"***\""),
            ("secret: \"abc\"", "secret: \"***\""),
            ("secret： “abc”", "secret： *********"),
            ("secret = “abc”", "secret = *********"),
            ("【app.env】\nA = \"b\"", "【app.env】\nA = \"*\""),
            (
                "secret = \"abc\"\n[sites.\"a.test.example\"] # secret = \"abc\"",
                "secret = \"***\"\n[sites.\"a.test.example\"] # secret = \"***\"",
            ),
            (
                "key = \"abc\"\n[[sites.'b.example'.x]]\nkey = \"abc\"",
                "key = \"***\"\n[[sites.'b.example'.x]]\nkey = \"***\"",
            ),
            ("token = [\n  \"abc\",\n]", "token = [\n  \"***\",\n]"),
            (
                "x = \"0123456789abcdef0123\"",
                "x = \"********************\"",
            ),
        ] {
            assert_eq!(secrets(text), shown);
            assert_eq!(secrets(text).len(), text.len());
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for text in [
            "key = \"2_www.example.com.key\"",
            "key = \"/etc/ssl/private/www.example.com\"",
            "appid = \"wx1234567890abcdef\"",
            "run = \"node app.js\"",
            "\"www.example.com\" = 1",
            "secret = { env = \"WEAPP_SECRET\" }",
            "proxy = \"127.0.0.1:1937\"",
            "store = \"sqlite:/var/lib/w.db\"",
            "at = 07:32:00",
        ] {
            assert_eq!(secrets(text), text);
        }
    }
}
