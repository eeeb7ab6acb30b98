//! When, and how often, a mini program may answer its customer.
//!
//! A message of the user opens 5 answers within 48 hours; entering the conversation opens 2
//! within a minute. (Source: the official page on customer messages.)

use std::time::Duration;

use weappd_base::unix_time::UnixSecs;

use crate::wechat_refusal::WechatRefusal;

/// What opened a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowOpening {
    /// The user wrote.
    Message,
    /// The user entered the conversation.
    Enter,
}

impl WindowOpening {
    fn terms(self) -> (Duration, u32) {
        match self {
            Self::Message => (Duration::from_hours(48), 5),
            Self::Enter => (Duration::from_mins(1), 2),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct ReplyWindow {
    ends: UnixSecs,
    left: u32,
}

/// The windows of one user in one mini program.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplyWindows {
    message: ReplyWindow,
    enter: ReplyWindow,
}

impl ReplyWindows {
    pub(crate) fn open(&mut self, opening: WindowOpening, now: UnixSecs) {
        let (span, left) = opening.terms();
        let window = ReplyWindow {
            ends: now + span,
            left,
        };
        match opening {
            WindowOpening::Message => self.message = window,
            WindowOpening::Enter => self.enter = window,
        }
    }

    /// Spends one answer, of the window that ends sooner.
    pub(crate) fn spend(&mut self, now: UnixSecs) -> Result<(), WechatRefusal> {
        let mut open = [&mut self.enter, &mut self.message]
            .into_iter()
            .filter(|window| now < window.ends)
            .peekable();
        if open.peek().is_none() {
            return Err(WechatRefusal::OutOfTime);
        }
        let window = open.find(|window| window.left > 0);
        window.ok_or(WechatRefusal::RepliesUsedUp)?.left -= 1;
        Ok(())
    }

    /// How many answers are left.
    pub(crate) fn left(&self, now: UnixSecs) -> u32 {
        [self.enter, self.message]
            .iter()
            .filter(|window| now < window.ends)
            .map(|window| window.left)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> UnixSecs {
        UnixSecs::new(secs)
    }

    #[test]
    fn a_message_opens_five_answers_for_two_days() {
        let mut windows = ReplyWindows::default();
        assert_eq!(windows.spend(at(0)), Err(WechatRefusal::OutOfTime));
        windows.open(WindowOpening::Message, at(0));
        for _ in 0..5 {
            assert_eq!(windows.spend(at(1)), Ok(()));
        }
        assert_eq!(windows.spend(at(1)), Err(WechatRefusal::RepliesUsedUp));
        windows.open(WindowOpening::Message, at(10));
        assert_eq!(windows.left(at(10)), 5);
        assert_eq!(
            windows.spend(at(10 + 48 * 3600)),
            Err(WechatRefusal::OutOfTime)
        );
    }

    #[test]
    fn entering_opens_two_for_a_minute_and_they_go_first() {
        let mut windows = ReplyWindows::default();
        windows.open(WindowOpening::Message, at(0));
        windows.open(WindowOpening::Enter, at(0));
        assert_eq!(windows.left(at(59)), 7);
        assert_eq!(windows.spend(at(1)), Ok(()));
        assert_eq!(windows.left(at(60)), 5);
    }
}
