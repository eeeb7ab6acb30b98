//! Why a value of weappd.toml could not be read.

use std::{fmt, ops::Range};

use serde::de;
use weappd_base::words;

use crate::config::read::shown_kind;

/// Why a value could not be read.
#[derive(Debug, Default)]
pub(crate) struct ReadError {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
    pub(crate) hint: String,
    /// The value to leave out, so that the rest can be read.
    pub(crate) left_out: Option<usize>,
    /// Whether it was noted already.
    pub(crate) told: bool,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // A section that says only what it wants.
        let wish = ["a ", "an "].iter().any(|start| message.starts_with(start));
        Self {
            message: if wish {
                words!("expected {}", "应为{}", shown_kind(&message))
            } else {
                message
            },
            ..Self::default()
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(words!("`{field}` is missing", "缺少 `{field}`"))
    }
}
