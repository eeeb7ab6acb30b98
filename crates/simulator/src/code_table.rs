//! The codes of `wx.login` and of the phone-number button: five minutes, one use, one mini
//! program.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use weappd_base::secret::{Secret, mask};
use weappd_base::unix_time::UnixSecs;

use crate::user_name::UserName;

/// How long a code lives.
const CODE_LIFE: Duration = Duration::from_mins(5);
/// The most codes kept at a time; beyond it the oldest are forgotten.
const MAX_CODES: usize = 200_000;
/// The most codes shown.
const MAX_LISTED: usize = 20;

/// What a code stands for.
#[derive(Clone, Debug)]
pub(crate) struct CodeGrant {
    pub(crate) appid: String,
    pub(crate) user: UserName,
    pub(crate) session_key: Secret,
}

/// Why a code is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeError {
    /// Unknown or too old.
    Invalid,
    /// Another mini program's.
    OtherApp,
    /// Redeemed before.
    Used,
}

/// All codes that may still be asked about.
#[derive(Debug, Default)]
pub(crate) struct CodeTable {
    /// `None`: redeemed.
    grants: HashMap<String, Option<CodeGrant>>,
    /// When each code ends, oldest first.
    ends: VecDeque<(UnixSecs, String)>,
}

impl CodeTable {
    pub(crate) fn add(&mut self, code: String, grant: CodeGrant, now: UnixSecs) {
        self.forget_old(now);
        if self.ends.len() >= MAX_CODES
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.grants.remove(&oldest);
        }
        self.ends.push_back((now + CODE_LIFE, code.clone()));
        self.grants.insert(code, Some(grant));
    }

    /// Takes what the code stands for. Another mini program's try does not use it up.
    pub(crate) fn redeem(
        &mut self,
        appid: &str,
        code: &str,
        now: UnixSecs,
    ) -> Result<CodeGrant, CodeError> {
        self.forget_old(now);
        let slot = self.grants.get_mut(code).ok_or(CodeError::Invalid)?;
        match slot {
            None => Err(CodeError::Used),
            Some(grant) if grant.appid != appid => Err(CodeError::OtherApp),
            Some(_) => slot.take().ok_or(CodeError::Used),
        }
    }

    /// What a code stands for, without spending it.
    pub(crate) fn look(&self, code: &str) -> Option<&CodeGrant> {
        self.grants.get(code)?.as_ref()
    }

    /// The newest codes that have not ended, masked.
    pub(crate) fn list(&self, kind: &str, now: UnixSecs) -> Vec<Value> {
        let newest = self.ends.iter().rev().take_while(|(end, _)| *end > now);
        newest
            .take(MAX_LISTED)
            .map(|(end, code)| {
                let grant = self.grants.get(code).and_then(Option::as_ref);
                json!({
                    "code": mask(code),
                    "kind": kind,
                    "user": grant.map(|grant| grant.user.as_str()),
                    "appid": grant.map(|grant| &grant.appid),
                    "used": grant.is_none(),
                    "left_secs": end.since(now).as_secs(),
                })
            })
            .collect()
    }

    fn forget_old(&mut self, now: UnixSecs) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, code)) = self.ends.pop_front() {
                self.grants.remove(&code);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> UnixSecs {
        UnixSecs::new(secs)
    }

    fn grant() -> CodeGrant {
        CodeGrant {
            appid: "wx1".to_owned(),
            user: UserName::parse("alice").expect("a name"),
            session_key: Secret::new("k"),
        }
    }

    #[test]
    fn a_code_works_once() {
        let mut codes = CodeTable::default();
        codes.add("c".to_owned(), grant(), at(0));
        assert!(codes.redeem("wx1", "c", at(1)).is_ok());
        assert_eq!(codes.redeem("wx1", "c", at(2)).err(), Some(CodeError::Used));
    }

    #[test]
    fn a_code_lives_five_minutes_used_or_not() {
        let mut codes = CodeTable::default();
        codes.add("used".to_owned(), grant(), at(0));
        codes.add("new".to_owned(), grant(), at(0));
        assert!(codes.redeem("wx1", "used", at(299)).is_ok());
        assert_eq!(
            codes.redeem("wx1", "new", at(300)).err(),
            Some(CodeError::Invalid)
        );
        assert_eq!(
            codes.redeem("wx1", "used", at(300)).err(),
            Some(CodeError::Invalid)
        );
        assert!(codes.grants.is_empty() && codes.ends.is_empty());
    }

    #[test]
    fn another_mini_program_neither_gets_nor_spends_a_code() {
        let mut codes = CodeTable::default();
        codes.add("c".to_owned(), grant(), at(0));
        assert_eq!(
            codes.redeem("wx2", "c", at(1)).err(),
            Some(CodeError::OtherApp)
        );
        assert!(codes.redeem("wx1", "c", at(1)).is_ok());
    }

    #[test]
    fn codes_are_bounded() {
        let mut codes = CodeTable::default();
        for n in 0..=MAX_CODES {
            codes.add(n.to_string(), grant(), at(0));
        }
        assert_eq!(codes.grants.len(), MAX_CODES);
        assert_eq!(
            codes.redeem("wx1", "0", at(1)).err(),
            Some(CodeError::Invalid)
        );
    }
}
