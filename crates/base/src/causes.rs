//! Errors told with what caused them.

use std::error::Error;

use crate::language::Language;

/// An error and its causes, on one line, in English, as logs are. Wrappers that end with their
/// cause's words say them once.
pub fn chain(error: &dyn Error) -> String {
    Language::English.speak(|| in_one_line(error))
}

fn in_one_line(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.ends_with(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn every_cause_is_told_in_its_order() {
        let disk = Told("the disk is full", None);
        assert_eq!(chain(&disk), "the disk is full");
        let write = Told("the write failed", Some(Box::new(disk)));
        let login = Told("no login", Some(Box::new(write)));
        assert_eq!(
            chain(&login),
            "no login: the write failed: the disk is full"
        );
        let repeats = Told(
            "no login: the disk is full",
            Some(Box::new(Told("the disk is full", None))),
        );
        assert_eq!(chain(&repeats), "no login: the disk is full");
    }
}
