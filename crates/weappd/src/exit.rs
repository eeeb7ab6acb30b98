//! How weappd ends, and the words it ends with.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, or stopped as asked |
//! | 1 | the command failed; the words say why |
//! | 2 | the command line was wrong |
//! | 70 | a part of weappd ended that never should |
//! | 78 | the configuration has problems |

use std::error::Error;
use std::process::ExitCode;
use weappd_base::words;

use weappd_base::open_files;

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) struct ExitFailure {
    code: u8,
    words: String,
}

impl ExitFailure {
    /// Exit code 1, with an error, its causes and a hint.
    pub(crate) fn new(error: &(dyn Error + 'static), hint: &str) -> Self {
        let mut words = words!("error: {error}\n", "错误：{error}\n");
        let mut hint = open_files::hint_of(error).unwrap_or(hint);
        let mut cause = error.source();
        while let Some(error) = cause {
            hint = open_files::hint_of(error).unwrap_or(hint);
            let text = error.to_string();
            // Wrappers often repeat their cause's words.
            if !words.contains(&text) {
                words += &words!("  caused by: {text}\n", "  原因：{text}\n");
            }
            cause = error.source();
        }
        if !hint.is_empty() {
            words += &words!("  hint: {hint}\n", "  提示：{hint}\n");
        }
        Self { code: 1, words }
    }

    /// Exit code 1, with a sentence and a hint.
    pub(crate) fn say(sentence: impl std::fmt::Display, hint: &str) -> Self {
        let mut words = words!("error: {sentence}\n", "错误：{sentence}\n");
        if !hint.is_empty() {
            words += &words!("  hint: {hint}\n", "  提示：{hint}\n");
        }
        Self { code: 1, words }
    }

    /// Exit code 78, with problems that were rendered already.
    pub(crate) fn config(words: String) -> Self {
        Self { code: 78, words }
    }

    /// Words that another weappd was to end with, and its exit code.
    pub(crate) fn told(code: u8, words: String) -> Self {
        Self { code, words }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What is to be said.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// The words of all of them, with exit code 1.
    pub(crate) fn all(failures: impl IntoIterator<Item = Self>) -> Self {
        let words = failures.into_iter().map(|failure| failure.words).collect();
        Self { code: 1, words }
    }

    /// The same words with exit code 70: something ended by itself.
    pub(crate) fn crashed(mut self) -> Self {
        self.code = 70;
        self
    }

    /// The same words with exit code 127: an app's program could not be started, in the
    /// words of shells.
    pub(crate) fn not_started(mut self) -> Self {
        self.code = 127;
        self
    }

    /// Prints the words and gives the exit code.
    #[expect(clippy::print_stderr, reason = "the last words of the process")]
    pub(crate) fn report(&self) -> ExitCode {
        eprint!("{}", self.words);
        ExitCode::from(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct OuterError(#[source] std::io::Error);

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        let inner = std::io::Error::other("disk is full");
        let failure = ExitFailure::new(&OuterError(inner), "free some space");
        assert_eq!(
            failure.words,
            "error: outer\n  caused by: disk is full\n  hint: free some space\n"
        );
    }

    #[test]
    fn without_descriptors_no_other_hint_helps() {
        let spent = std::io::Error::from(rustix::io::Errno::MFILE);
        let failure = ExitFailure::new(&OuterError(spent), "see [app] in weappd.toml");
        assert!(failure.words.contains("LimitNOFILE"), "{}", failure.words);
        assert!(!failure.words.contains("[app]"), "{}", failure.words);
    }
}
