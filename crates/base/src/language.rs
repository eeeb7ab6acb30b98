//! In which language a person is spoken to.
//!
//! Each sentence stands once, at its place, in both languages: [`words!`](crate::words) with
//! values in it, [`pick`] without. So none can be missing, and the compiler holds the values of
//! both against each other.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

/// A language that weappd speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// 中文.
    Chinese,
}

/// Of the process: who started it reads what it prints.
static IS_CHINESE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static HERE: Cell<Option<Language>> = const { Cell::new(None) };
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// What the environment asks for: the first of these variables that is set counts (POSIX,
    /// 8.2), and English where none asks for Chinese.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variables = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let said = variables
            .iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()));
        match said {
            Some(locale) if locale.to_ascii_lowercase().starts_with("zh") => Self::Chinese,
            _ => Self::English,
        }
    }

    /// Makes it the language of this process.
    pub fn settle(self) {
        IS_CHINESE.store(self == Self::Chinese, Ordering::Relaxed);
    }

    /// The language to speak here.
    pub fn current() -> Self {
        let process = || {
            let is_chinese = IS_CHINESE.load(Ordering::Relaxed);
            if is_chinese {
                Self::Chinese
            } else {
                Self::English
            }
        };
        HERE.get().unwrap_or_else(process)
    }

    /// Its name in `Accept-Language` (RFC 5646).
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// Has a future speak this language while it runs, whatever the process speaks. Tasks that
    /// it spawns do not.
    pub async fn scope<F: Future>(self, speaker: F) -> F::Output {
        let mut speaker = pin!(speaker);
        poll_fn(|cx| self.speak(|| speaker.as_mut().poll(cx))).await
    }

    /// Runs `speaker` in this language, whatever the process speaks.
    pub fn speak<T>(self, speaker: impl FnOnce() -> T) -> T {
        struct Before(Option<Language>);
        impl Drop for Before {
            fn drop(&mut self) {
                HERE.set(self.0);
            }
        }
        let _before = Before(HERE.replace(Some(self)));
        speaker()
    }
}

/// The text in the language that is spoken here.
pub fn pick(english: &'static str, chinese: &'static str) -> &'static str {
    match Language::current() {
        Language::English => english,
        Language::Chinese => chinese,
    }
}

/// An error as the log tells it, whoever its request's answer is for.
pub fn english(error: &dyn std::fmt::Display) -> String {
    Language::English.speak(|| error.to_string())
}

/// `format!` in the language that is spoken here: the English text, the Chinese one, and the
/// values of both.
///
/// ```
/// # use weappd_base::{language::Language, words};
/// let told = || words!("cannot read {}", "无法读取 {}", "a.toml");
/// assert_eq!(told(), "cannot read a.toml");
/// assert_eq!(Language::Chinese.speak(told), "无法读取 a.toml");
/// ```
#[macro_export]
macro_rules! words {
    ($english:literal, $chinese:literal $(, $($values:tt)*)?) => {
        match $crate::language::Language::current() {
            $crate::language::Language::English => format!($english $(, $($values)*)?),
            $crate::language::Language::Chinese => format!($chinese $(, $($values)*)?),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        for (set, wanted) in [
            (&[][..], Language::English),
            (&[("LANG", "zh_CN.UTF-8")], Language::Chinese),
            (&[("LANG", "zh")], Language::Chinese),
            (&[("LANG", "zh_TW.UTF-8")], Language::Chinese),
            (&[("LANG", "en_US.UTF-8")], Language::English),
            (&[("LANG", "ja_JP.UTF-8")], Language::English),
            (
                &[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")],
                Language::English,
            ),
            (
                &[("LC_ALL", ""), ("LANG", "zh_CN.UTF-8")],
                Language::Chinese,
            ),
            (
                &[("LC_MESSAGES", "zh_CN"), ("LANG", "en_US.UTF-8")],
                Language::Chinese,
            ),
        ] {
            let value = |name: &str| {
                let mut set = set.iter();
                set.find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Language::of_environment(value), wanted, "{set:?}");
        }
    }

    #[tokio::test]
    async fn a_future_speaks_its_language_and_nobody_else_does() {
        let told = Language::Chinese.scope(async {
            let before = pick("a", "甲");
            tokio::task::yield_now().await;
            (before, pick("b", "乙"))
        });
        let other = async { pick("a", "甲") };
        assert_eq!(tokio::join!(told, other), (("甲", "乙"), "a"));
    }

    #[test]
    fn a_language_is_spoken_until_the_speaker_ends() {
        assert_eq!(pick("a", "甲"), "a");
        let inner = || Language::English.speak(|| pick("a", "甲"));
        let told = Language::Chinese.speak(|| (pick("a", "甲"), inner(), pick("a", "甲")));
        assert_eq!(told, ("甲", "a", "甲"));
        assert_eq!(pick("a", "甲"), "a");
        let panicked = std::panic::catch_unwind(|| {
            Language::Chinese.speak(|| assert!(std::hint::black_box(false)));
        });
        assert!(panicked.is_err());
        assert_eq!(pick("a", "甲"), "a");
    }
}
