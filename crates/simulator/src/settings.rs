//! What a test may set: limits, words that are bad, how long WeChat takes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;

/// What a path may be called in a day, unless said: no test comes that far.
const DAILY_LIMIT: u64 = 10_000_000;

/// A user and a mini program as strict or as quick as a test needs them. `POST /settings`
/// changes the fields it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorSettings {
    /// Calls a minute before 45011, by path; `*` is every path not named. None: no limit.
    pub per_minute: BTreeMap<String, u32>,
    /// Texts with one of these words are `risky`.
    pub risky_words: Vec<String>,
    /// Texts with one of these words, and no risky one, go to `review`.
    pub review_words: Vec<String>,
    /// How long the check of a picture or sound takes until its result is pushed.
    pub media_check_delay_ms: u64,
    /// How long WeChat waits for the answer to a push before it cuts the connection.
    pub push_deadline_ms: u64,
    /// How many seconds an `access_token` lives.
    pub token_secs: i64,
    /// `GET /cgi-bin/token` calls a day before 45009.
    pub tokens_per_day: u32,
    /// The addresses that may ask for tokens; who asks is always 127.0.0.1. Empty: all.
    pub ip_allow_list: Vec<String>,
    /// Whether the `AppSecret` is frozen: no tokens, 40243.
    pub secret_frozen: bool,
    /// Calls a day before 45009, by path; `*` is every path not named.
    pub per_day: BTreeMap<String, u64>,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            per_minute: BTreeMap::new(),
            risky_words: words(&["risky", "违规"]),
            review_words: words(&["review", "复审"]),
            media_check_delay_ms: 1000,
            push_deadline_ms: 5000,
            token_secs: 7200,
            tokens_per_day: 2000,
            ip_allow_list: Vec::new(),
            secret_frozen: false,
            per_day: BTreeMap::new(),
        }
    }
}

impl SimulatorSettings {
    /// These settings with the fields of a JSON object put over them.
    pub(crate) fn changed(&self, change: &[u8]) -> Result<Self, Error> {
        let change: Map<String, Value> = serde_json::from_slice(change).map_err(Error::Body)?;
        let mut all = serde_json::to_value(self).map_err(Error::Body)?;
        for (name, value) in change {
            all[name.as_str()] = value;
        }
        let new: Self = serde_json::from_value(all).map_err(Error::Body)?;
        new.check()?;
        Ok(new)
    }

    /// How long an `access_token` lives.
    pub(crate) fn token_life(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.token_secs).unwrap_or(0))
    }

    fn check(&self) -> Result<(), Error> {
        if !(1..=60_000).contains(&self.push_deadline_ms) {
            return Err(Error::Setting("push_deadline_ms must be 1 to 60000"));
        }
        if self.media_check_delay_ms > 1_800_000 {
            return Err(Error::Setting("media_check_delay_ms must be 0 to 1800000"));
        }
        if !(600..=86_400).contains(&self.token_secs) {
            return Err(Error::Setting("token_secs must be 600 to 86400"));
        }
        Ok(())
    }

    /// The limit of a path, if there is one.
    pub(crate) fn limit(&self, path: &str) -> Option<u32> {
        let per_minute = &self.per_minute;
        per_minute
            .get(path)
            .or_else(|| per_minute.get("*"))
            .copied()
    }

    /// How often a path may be called in a day.
    pub(crate) fn daily_limit(&self, path: &str) -> u64 {
        let per_day = &self.per_day;
        let named = per_day.get(path).or_else(|| per_day.get("*"));
        named.copied().unwrap_or(DAILY_LIMIT)
    }

    /// What content security thinks of a text: `pass`, `review` or `risky`, its label, and
    /// the word that decided.
    pub(crate) fn verdict(&self, text: &str) -> (&'static str, u32, Option<&str>) {
        let text = text.to_lowercase();
        let hit = |words: &'_ [String]| {
            words
                .iter()
                .position(|word| !word.is_empty() && text.contains(&word.to_lowercase()))
        };
        if let Some(at) = hit(&self.risky_words) {
            return ("risky", 20006, Some(&self.risky_words[at]));
        }
        match hit(&self.review_words) {
            Some(at) => ("review", 21000, Some(&self.review_words[at])),
            None => ("pass", 100, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_changes_what_it_names() {
        let changed = SimulatorSettings::default().changed(br#"{"push_deadline_ms":50}"#);
        let changed = changed.expect("it is fine");
        assert_eq!(changed.push_deadline_ms, 50);
        assert_eq!(
            changed.risky_words,
            SimulatorSettings::default().risky_words
        );
        for bad in [
            r#"{"push_deadline_ms":0}"#,
            r#"{"media_check_delay_ms":1800001}"#,
            r#"{"token_secs":1}"#,
            r#"{"pushdeadline":1}"#,
            "[]",
        ] {
            assert!(
                SimulatorSettings::default()
                    .changed(bad.as_bytes())
                    .is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_worst_word_decides() {
        let settings = SimulatorSettings::default();
        assert_eq!(settings.verdict("hello").0, "pass");
        assert_eq!(settings.verdict("please Review").0, "review");
        let both = settings.verdict("review this RISKY text");
        assert_eq!(both, ("risky", 20006, Some("risky")));
        assert_eq!(settings.verdict("这是违规内容").0, "risky");
    }

    #[test]
    fn a_path_has_its_own_limit_or_everybodys() {
        let settings = SimulatorSettings::default().changed(br#"{"per_minute":{"*":5,"/a":1}}"#);
        let settings = settings.expect("it is fine");
        assert_eq!(
            (settings.limit("/a"), settings.limit("/b")),
            (Some(1), Some(5))
        );
        assert_eq!(SimulatorSettings::default().limit("/a"), None);
    }
}
