//! When, and how often, a mini program may answer its customer.
//!
//! A message of the user opens 5 answers within 48 hours; entering the conversation opens 2
//! within a minute. (Source: the official page on customer messages.)

use crate::platform::Refusal;

/// What opened a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The user wrote.
    Message,
    /// The user entered the conversation.
    Enter,
}

impl Opening {
    fn terms(self) -> (i64, u32) {
        match self {
            Self::Message => (48 * 3600, 5),
            Self::Enter => (60, 2),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    ends: i64,
    left: u32,
}

/// The windows of one user in one mini program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    message: Window,
    enter: Window,
}

impl Windows {
    pub(crate) fn open(&mut self, opening: Opening, now: i64) {
        let (secs, left) = opening.terms();
        let window = Window {
            ends: now + secs,
            left,
        };
        match opening {
            Opening::Message => self.message = window,
            Opening::Enter => self.enter = window,
        }
    }

    /// Spends one answer, of the window that ends sooner.
    pub(crate) fn spend(&mut self, now: i64) -> Result<(), Refusal> {
        let mut open = [&mut self.enter, &mut self.message]
            .into_iter()
            .filter(|window| now < window.ends)
            .peekable();
        if open.peek().is_none() {
            return Err(Refusal::OutOfTime);
        }
        let window = open.find(|window| window.left > 0);
        window.ok_or(Refusal::RepliesUsedUp)?.left -= 1;
        Ok(())
    }

    /// How many answers are left.
    pub(crate) fn left(&self, now: i64) -> u32 {
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

    #[test]
    fn a_message_opens_five_answers_for_two_days() {
        let mut windows = Windows::default();
        assert_eq!(windows.spend(0), Err(Refusal::OutOfTime));
        windows.open(Opening::Message, 0);
        for _ in 0..5 {
            assert_eq!(windows.spend(1), Ok(()));
        }
        assert_eq!(windows.spend(1), Err(Refusal::RepliesUsedUp));
        windows.open(Opening::Message, 10);
        assert_eq!(windows.left(10), 5);
        assert_eq!(windows.spend(10 + 48 * 3600), Err(Refusal::OutOfTime));
    }

    #[test]
    fn entering_opens_two_for_a_minute_and_they_go_first() {
        let mut windows = Windows::default();
        windows.open(Opening::Message, 0);
        windows.open(Opening::Enter, 0);
        assert_eq!(windows.left(59), 7);
        assert_eq!(windows.spend(1), Ok(()));
        assert_eq!(windows.left(60), 5);
    }
}
