//! Command lines: split into words, and the program found.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::StartError;

/// A command line that cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote was opened and never closed.
    #[error("the quote {quote} at character {at} is never closed")]
    OpenQuote {
        /// Which quote.
        quote: char,
        /// Where it stands, counted from 1.
        at: usize,
    },
    /// The line ends in a backslash.
    #[error("the line ends in a backslash")]
    OpenBackslash,
}

impl SplitError {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::OpenQuote { .. } => "close it, or write the command as a list of words",
            Self::OpenBackslash => "remove it, or write \\\\ for a backslash",
        }
    }
}

/// Splits a line into words as a POSIX shell does, without expanding anything: blanks
/// separate, single quotes keep everything, double quotes keep all but `\"`, `\\`, `` \` ``
/// and `\$`, a backslash keeps the next character.
pub fn split(line: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().enumerate();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => {
                let part = quoted(&mut chars, c).ok_or(SplitError::OpenQuote {
                    quote: c,
                    at: at + 1,
                })?;
                word.get_or_insert_default().push_str(&part);
            }
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, next)) => word.get_or_insert_default().push(next),
                None => return Err(SplitError::OpenBackslash),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The text up to the closing `quote`, or `None` if there is none.
fn quoted(chars: &mut impl Iterator<Item = (usize, char)>, quote: char) -> Option<String> {
    let mut part = String::new();
    loop {
        match chars.next()?.1 {
            c if c == quote => return Some(part),
            '\\' if quote == '"' => match chars.next()?.1 {
                '\n' => {}
                c @ ('"' | '\\' | '`' | '$') => part.push(c),
                c => part.extend(['\\', c]),
            },
            c => part.push(c),
        }
    }
}

/// Finds the file behind `program`: a path relative to `dir`, or a name looked up in `path`.
pub(crate) fn find(program: &str, dir: &Path, path: Option<&OsStr>) -> Result<PathBuf, StartError> {
    if program.contains('/') {
        let file = dir.join(program);
        return match is_program(&file) {
            Some(true) => Ok(file),
            Some(false) => Err(StartError::NotExecutable { file }),
            None => Err(StartError::NoSuchProgram { file }),
        };
    }
    let path: OsString = path.unwrap_or(OsStr::new("/usr/bin:/bin")).to_owned();
    let mut blocked = None;
    for folder in std::env::split_paths(&path) {
        let file = dir.join(folder).join(program);
        match is_program(&file) {
            Some(true) => return Ok(file),
            Some(false) => blocked = blocked.or(Some(file)),
            None => {}
        }
    }
    Err(match blocked {
        Some(file) => StartError::NotExecutable { file },
        None => StartError::NotInPath {
            program: program.to_owned(),
            hint: install_hint(program),
        },
    })
}

/// Whether a file may be executed; `None` if there is no such file.
fn is_program(file: &Path) -> Option<bool> {
    let meta = std::fs::metadata(file)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    Some(meta.permissions().mode() & 0o111 != 0)
}

/// What to install when a program is missing.
fn install_hint(program: &str) -> &'static str {
    match program {
        "node" | "nodejs" | "npm" | "npx" => {
            "install Node.js (Debian, Ubuntu: apt install nodejs npm), or give its full path \
             if a version manager keeps it in your home directory"
        }
        "yarn" | "pnpm" | "tsx" | "ts-node" => "install it with npm, or run it through npx",
        "python3" | "python" | "pip" | "uvicorn" | "gunicorn" | "flask" => {
            "install Python (Debian, Ubuntu: apt install python3; the command is python3), or \
             give the full path inside your virtual environment"
        }
        "php" | "php-fpm" | "composer" => "install PHP (Debian, Ubuntu: apt install php-cli)",
        "go" => "install Go (Debian, Ubuntu: apt install golang), or run the built program",
        "java" => "install a Java runtime (Debian, Ubuntu: apt install default-jre-headless)",
        "ruby" | "bundle" | "rackup" | "puma" => "install Ruby (Debian, Ubuntu: apt install ruby)",
        "deno" | "bun" | "dotnet" | "cargo" => "install it, or give its full path",
        "cd" | "export" | "source" | "set" | "exec" | "ulimit" => {
            "this is a shell's own word and no shell is started: use dir and env, or \
             run = [\"sh\", \"-c\", \"...\"]"
        }
        _ => "check the spelling, install it, or give its full path",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_split_like_a_shell_splits_them() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  node   app.js\t-p 1\n", &["node", "app.js", "-p", "1"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            ("a'b'\"c\"d", &["abcd"]),
            (r"a\ b \\ \'", &["a b", r"\", "'"]),
            (r#""a\"b\\c\n\$d""#, &[r#"a"b\c\n$d"#]),
            (r"'a\b'", &[r"a\b"]),
            ("'' \"\"", &["", ""]),
            ("a\\\nb", &["ab"]),
            ("$HOME *.js", &["$HOME", "*.js"]),
            ("节点 '应 用'", &["节点", "应 用"]),
        ];
        for (line, words) in table {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(split(line), Ok(words), "{line}");
        }
    }

    #[test]
    fn unbalanced_quotes_are_pointed_at() {
        let open = |quote, at| Err(SplitError::OpenQuote { quote, at });
        assert_eq!(split("node 'app"), open('\'', 6));
        assert_eq!(split("\"a\\\""), open('"', 1));
        assert_eq!(split("a\\"), Err(SplitError::OpenBackslash));
    }

    proptest! {
        #[test]
        fn single_quoting_brings_every_word_back(words in prop::collection::vec("[^\0]{0,12}", 0..6)) {
            let line: Vec<String> = words
                .iter()
                .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
                .collect();
            prop_assert_eq!(split(&line.join(" ")), Ok(words));
        }

        #[test]
        fn splitting_never_panics(line in ".{0,200}") {
            drop(split(&line));
        }
    }

    #[test]
    fn programs_are_found_in_path_and_by_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("tool"), "#!/bin/sh\n").expect("a file");
        let path = Some(dir.path().as_os_str());
        assert!(matches!(
            find("tool", Path::new("/"), path),
            Err(StartError::NotExecutable { .. })
        ));
        std::fs::set_permissions(at("tool"), std::fs::Permissions::from_mode(0o755)).expect("mode");
        assert_eq!(
            find("tool", Path::new("/"), path).expect("found"),
            at("tool")
        );
        assert_eq!(
            find("./tool", dir.path(), None).expect("found"),
            dir.path().join("./tool")
        );
        assert!(find("sh", Path::new("/"), None).is_ok());
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error =
            find("node", Path::new("/"), Some(OsStr::new("/nowhere"))).expect_err("missing");
        let text = error.to_string();
        assert!(text.contains("node") && text.contains("PATH"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("Node.js")));
        assert!(matches!(
            find("./no", Path::new("/nowhere"), None),
            Err(StartError::NoSuchProgram { .. })
        ));
    }
}
