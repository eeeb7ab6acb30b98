//! What is wrong with a setting: told to whoever wrote it, with what to do about it.

use std::borrow::Cow;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingProblem {
    /// The key, from the section's own: `max_total_bytes`, `inbox.at_once`, `businesses[0].host`.
    /// Empty if the section itself is meant.
    pub field: Cow<'static, str>,
    /// What is wrong, to be read after the key and a colon.
    pub message: String,
    /// What to do about it.
    pub hint: Cow<'static, str>,
}

impl SettingProblem {
    /// A problem with the setting `field`.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}
