//! Sizes and times with units: `"10MB"`, `"30s"`, where a number of bytes, seconds, hours or
//! days may stand as well.

use weappd_base::language::pick;

/// What the number of a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantityUnit {
    Bytes,
    Millis,
    Secs,
    Hours,
    Days,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantityError {
    /// It is something else.
    Other,
    /// It is one, but no whole number of what the key counts.
    Broken,
}

/// Names of units and how many milliseconds or bytes each has. As in nginx, a kilobyte has
/// 1024 bytes.
const TIMES: [(&[&str], u64); 5] = [
    (&["ms", "毫秒"], 1),
    (&["s", "sec", "secs", "second", "seconds", "秒"], 1000),
    (
        &["m", "min", "mins", "minute", "minutes", "分", "分钟"],
        60_000,
    ),
    (&["h", "hour", "hours", "小时"], 3_600_000),
    (&["d", "day", "days", "天"], 86_400_000),
];
const SIZES: [(&[&str], u64); 5] = [
    (&["b", "byte", "bytes"], 1),
    (&["k", "kb", "kib"], 1 << 10),
    (&["m", "mb", "mib"], 1 << 20),
    (&["g", "gb", "gib"], 1 << 30),
    (&["t", "tb", "tib"], 1 << 40),
];

impl QuantityUnit {
    /// What the number of `key` counts, as its name says.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
        if ends(&["_bytes", "_bytes_per_sec", "_rate"]) {
            return Some(Self::Bytes);
        }
        [
            ("_ms", Self::Millis),
            ("_secs", Self::Secs),
            ("_hours", Self::Hours),
            ("_days", Self::Days),
        ]
        .into_iter()
        .find_map(|(end, unit)| key.ends_with(end).then_some(unit))
    }

    /// What may stand there.
    pub(crate) fn wish(self) -> &'static str {
        match self {
            Self::Bytes => pick(
                "a number of bytes, or a size such as \"10MB\"",
                "字节数，或 \"10MB\" 这样的大小",
            ),
            Self::Millis => pick(
                "a number of milliseconds, or a time such as \"5s\"",
                "毫秒数，或 \"5s\" 这样的时间",
            ),
            Self::Secs => pick(
                "a number of seconds, or a time such as \"30s\"",
                "秒数，或 \"30s\" 这样的时间",
            ),
            Self::Hours => pick(
                "a number of hours, or a time such as \"3d\"",
                "小时数，或 \"3d\" 这样的时间",
            ),
            Self::Days => pick(
                "a number of days, or a time such as \"30d\"",
                "天数，或 \"30d\" 这样的时间",
            ),
        }
    }

    /// What it counts, in a sentence.
    pub(crate) fn counts(self) -> &'static str {
        match self {
            Self::Bytes => pick("whole bytes", "整数个字节"),
            Self::Millis => pick("whole milliseconds", "整数毫秒"),
            Self::Secs => pick("whole seconds", "整数秒"),
            Self::Hours => pick("whole hours", "整数小时"),
            Self::Days => pick("whole days", "整数天"),
        }
    }

    /// How many of it a text says.
    pub(crate) fn read(self, text: &str) -> Result<u64, QuantityError> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(QuantityError::Other)?;
        let (number, name) = text.split_at(end);
        let name = name.trim_start().to_lowercase();
        let names = if self == Self::Bytes { SIZES } else { TIMES };
        let known = names.iter().find(|(names, _)| names.contains(&&*name));
        let (_, each) = known.ok_or(QuantityError::Other)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        if part.is_empty() || part.len() > 9 {
            return Err(QuantityError::Other);
        }
        let tens = 10_u128.pow(u32::try_from(part.len()).map_err(|_| QuantityError::Other)?);
        let whole: u64 = whole.parse().map_err(|_| QuantityError::Other)?;
        let part: u64 = part.parse().map_err(|_| QuantityError::Other)?;
        let all = (u128::from(whole) * tens + u128::from(part)) * u128::from(*each);
        let one = tens * u128::from(self.size());
        if all % one != 0 {
            return Err(QuantityError::Broken);
        }
        u64::try_from(all / one).map_err(|_| QuantityError::Other)
    }

    fn size(self) -> u64 {
        match self {
            Self::Bytes | Self::Millis => 1,
            Self::Secs => 1000,
            Self::Hours => 3_600_000,
            Self::Days => 86_400_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_counts() {
        for (key, unit) in [
            ("max_body_bytes", Some(QuantityUnit::Bytes)),
            ("max_bytes_per_sec", Some(QuantityUnit::Bytes)),
            ("min_upload_rate", Some(QuantityUnit::Bytes)),
            ("hold_ms", Some(QuantityUnit::Millis)),
            ("keep_alive_secs", Some(QuantityUnit::Secs)),
            ("max_age_hours", Some(QuantityUnit::Hours)),
            ("login_duration_days", Some(QuantityUnit::Days)),
            ("threads", None),
            ("logins_per_minute_per_ip", None),
            ("decrypt_failures_per_hour_per_user", None),
        ] {
            assert_eq!(QuantityUnit::of_key(key), unit, "{key}");
        }
    }

    #[test]
    fn quantities_are_read_exactly() {
        for (unit, text, number) in [
            (QuantityUnit::Bytes, "10MB", 10 << 20),
            (QuantityUnit::Bytes, "10m", 10 << 20),
            (QuantityUnit::Bytes, "1.5 GiB", 3 << 29),
            (QuantityUnit::Bytes, "100 KB", 102_400),
            (QuantityUnit::Bytes, "7b", 7),
            (QuantityUnit::Millis, "2s", 2000),
            (QuantityUnit::Millis, "250ms", 250),
            (QuantityUnit::Millis, "0.5m", 30_000),
            (QuantityUnit::Secs, "30s", 30),
            (QuantityUnit::Secs, "5m", 300),
            (QuantityUnit::Secs, "1500ms", u64::MAX),
            (QuantityUnit::Secs, "2000ms", 2),
            (QuantityUnit::Secs, "30 天", 2_592_000),
            (QuantityUnit::Hours, "3d", 72),
            (QuantityUnit::Hours, "1.5h", u64::MAX),
            (QuantityUnit::Days, "30d", 30),
            (QuantityUnit::Days, "48h", 2),
        ] {
            let right = if number == u64::MAX {
                Err(QuantityError::Broken)
            } else {
                Ok(number)
            };
            assert_eq!(unit.read(text), right, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_not_guessed_at() {
        for (unit, text) in [
            (QuantityUnit::Bytes, "30s"),
            (QuantityUnit::Secs, "10MB"),
            (QuantityUnit::Secs, ""),
            (QuantityUnit::Secs, "30"),
            (QuantityUnit::Secs, "s"),
            (QuantityUnit::Secs, "-1s"),
            (QuantityUnit::Secs, "1.s"),
            (QuantityUnit::Secs, ".5m"),
            (QuantityUnit::Secs, "1.2.3s"),
            (QuantityUnit::Secs, "1h30m"),
            (QuantityUnit::Secs, "1,000s"),
            (QuantityUnit::Bytes, "99999999999999999999TB"),
            (QuantityUnit::Bytes, "18446744073709551615TB"),
            (QuantityUnit::Secs, "0.0000000001s"),
        ] {
            assert_eq!(unit.read(text), Err(QuantityError::Other), "{text}");
        }
    }
}
