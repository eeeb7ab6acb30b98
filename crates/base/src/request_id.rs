//! The name of one request: the same in the access log, in the app's headers, in spans and in
//! the bodies of weappd's own errors.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// The header that carries it.
pub const REQUEST_ID: &str = "x-request-id";
/// The longest that is taken from others.
const MOST: usize = 64;

thread_local! {
    /// This thread's names: how many there were, and the keys that hide the count. Whoever
    /// sees a name is not told how much this server has to do.
    static NEXT: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

tokio::task_local! {
    static CURRENT: RequestId;
}

/// A request's name: 32 hex digits of our own, or what somebody trusted gave it. No secret,
/// and no proof of anything. Cheap to make and to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(IdText);

#[derive(Clone, PartialEq, Eq, Hash)]
enum IdText {
    Own(u64, u64),
    Taken(Arc<str>),
}

impl RequestId {
    /// A new one. No system call but for the first of a thread.
    pub fn fresh() -> Self {
        NEXT.with(|(keys, next)| {
            let count = next.get();
            next.set(count.wrapping_add(1));
            let half = |which: u64| keys.hash_one(count.wrapping_mul(2) | which);
            Self(IdText::Own(half(0), half(1)))
        })
    }

    /// Runs what answers this request: it, and what it awaits, finds the name by
    /// [`RequestId::current`]. Tasks that it spawns do not.
    pub fn scope<F: Future>(self, answering: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, answering)
    }

    /// The request that is being answered here, if one is.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Its text, without an allocation.
    pub fn with_text<T>(&self, reader: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            IdText::Own(first, second) => {
                let mut digits = [0; 32];
                let halves = (u128::from(*first) << 64) | u128::from(*second);
                // They fit, and are text.
                let _fits = hex::encode_to_slice(halves.to_be_bytes(), &mut digits);
                reader(str::from_utf8(&digits).unwrap_or_default())
            }
            IdText::Taken(text) => reader(text),
        }
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
        self.with_text(|text| f.write_str(text))
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
    fn names_are_32_digits_and_differ_on_all_threads() {
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
        assert!(different.iter().all(|name| name.len() == 32));
        // Neither half counts, nor says which thread it was.
        let halves = |at: usize| -> HashSet<&str> {
            let names = all.iter().flatten();
            names.filter_map(|name| name.get(at..at + 12)).collect()
        };
        assert!(halves(0).len() > 39_000 && halves(16).len() > 39_000);
    }

    #[tokio::test]
    async fn whoever_answers_finds_the_name() {
        let id = RequestId::fresh();
        let seen = id.clone().scope(async { RequestId::current() }).await;
        assert_eq!(seen, Some(id));
        assert_eq!(RequestId::current(), None);
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
