//! Fuzzing bytes taken apart by hand: numbers as single bytes, texts up to a byte 0xFF,
//! which no text holds. Seeds stay readable, and dictionaries keep their use.
//!
//! Each room's bodies take this file in by its path, so that no normal build has it.

use std::path::Path;

/// Bytes not yet used. Where they end, everything is zero or empty.
pub(crate) struct Feed<'a>(&'a [u8]);

#[allow(dead_code, reason = "each room uses what it needs")]
impl<'a> Feed<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// One of `count` numbers from 0 up. Digits stand for themselves.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte().wrapping_sub(b'0')) % count.max(1)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// The bytes up to the next 0xFF, or all.
    pub(crate) fn field(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0xFF);
        let (field, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        field
    }

    /// The same as text; what is not UTF-8 becomes replacement characters.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.field()).into_owned()
    }

    /// A whole number written in the text.
    pub(crate) fn number(&mut self) -> i64 {
        let text = self.text();
        text.parse().unwrap_or(i64::from(text.len() as u8))
    }

    /// As many bytes as asked for, zeros where they are missing.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Everything left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A target's name and what it does with an input: it panics if something does not hold.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Gives an input to the target of this name.
#[allow(dead_code, reason = "for the fuzz package")]
pub(crate) fn run(targets: &[Target], name: &str, data: &[u8]) {
    let target = targets.iter().find(|(known, _)| *known == name);
    target.expect("a known target").1(data);
}

/// Gives each target the inputs committed for it, and a few that no corpus need hold.
#[allow(dead_code, reason = "for the tests")]
pub(crate) fn replay(targets: &[Target]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets {
        let files = std::fs::read_dir(corpus.join(name)).expect(name);
        let mut files: Vec<_> = files.map(|file| file.expect(name).path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        for file in files {
            let input = std::fs::read(&file).expect(name);
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "{name} does not hold for {}", file.display());
        }
        for input in [&[][..], &[0; 64], &[0xFF; 64], b"0123456789{}<>"] {
            target(input);
        }
    }
}
