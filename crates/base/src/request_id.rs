//! The name of one request: the same in the access log, in the app's header, in spans and in
//! error bodies.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::random::RandomSource;

/// The header that carries it.
pub const REQUEST_ID: &str = "x-request-id";
/// The longest that is taken from others.
const MOST: usize = 64;

thread_local! {
    /// Where this thread's names go on; 0: not begun.
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// A request's name: 16 hex digits of our own, or what a proxy that is trusted gave it. No
/// secret, and no proof of anything. Cheap to make and to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(IdText);

#[derive(Clone, PartialEq, Eq, Hash)]
enum IdText {
    Own(u64),
    Taken(Arc<str>),
}

impl RequestId {
    /// A new one. No system call but for the first of a thread.
    pub fn fresh() -> Self {
        let state = NEXT.get();
        let state = if state == 0 {
            u64::from_be_bytes(RandomSource::system().bytes()) | 1
        } else {
            state
        };
        NEXT.set(state.wrapping_add(0x9E37_79B9_7F4A_7C15));
        // SplitMix64: names of one thread look unlike each other, and none comes twice.
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(IdText::Own(z ^ (z >> 31)))
    }

    /// What somebody trusted called it: 1 to 64 letters, digits, `-`, `_`, `.`, `:` and `=`.
    pub fn taken(text: &str) -> Option<Self> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.:=".contains(&c);
        let fits = (1..=MOST).contains(&text.len()) && text.bytes().all(is_plain);
        fits.then(|| Self(IdText::Taken(text.into())))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IdText::Own(number) => write!(f, "{number:016x}"),
            IdText::Taken(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_sixteen_digits_and_differ_on_all_threads() {
        let many = || {
            (0..10_000)
                .map(|_| RequestId::fresh().to_string())
                .collect()
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
        let all: Vec<Vec<String>> = (threads.into_iter())
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        let different: HashSet<&String> = all.iter().flatten().collect();
        assert_eq!(different.len(), 40_000);
        assert!(different.iter().all(|name| name.len() == 16));
    }

    #[test]
    fn a_proxys_name_is_taken_if_it_is_plain() {
        for good in ["a", "01a22f94-e4af-79a7-bb36-1a12d80218bd", "Root=1-5:x_y"] {
            let taken = RequestId::taken(good).expect(good);
            assert_eq!(taken.to_string(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", "a b", "a\"", "a,b", "a\n", "信", &long] {
            assert_eq!(RequestId::taken(bad), None, "{bad}");
        }
    }
}
