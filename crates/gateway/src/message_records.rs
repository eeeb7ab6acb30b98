//! Messages as the queue's file has them, and what is asked of it.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};
use weappd_base::unix_time::UnixMillis;

use crate::deliver::PushedMessage;

/// The heads of their lanes that are due, oldest first, and what stepped aside; of the mini
/// programs in a JSON array.
pub(crate) const DUE: &str = "SELECT seq, appid, openid, kind, body, tries, refusals, came, key FROM messages m \
    WHERE state = 0 AND due <= ?1 AND appid IN (SELECT value FROM json_each(?3)) AND NOT EXISTS \
    (SELECT 1 FROM messages e \
        WHERE e.state = 0 AND e.aside = 0 AND e.lane = m.lane AND e.seq < m.seq) \
    ORDER BY seq LIMIT ?2";
/// The dead letters, oldest first.
pub(crate) const DEAD: &str = "SELECT seq, appid, openid, kind, body, tries, came, due, why FROM messages \
    WHERE state = 2 ORDER BY seq LIMIT ?1";

/// A message as it comes in.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) appid: String,
    pub(crate) key: String,
    pub(crate) openid: Option<String>,
    pub(crate) kind: String,
    pub(crate) body: String,
    /// Whether `success` says more than that it arrived: a repeat hears what the first heard,
    /// and one that waits or was given up is tried at once.
    pub(crate) is_deed: bool,
    pub(crate) now: UnixMillis,
}

/// What was there when a message came in. On the disk is it in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    /// Nothing: it is new.
    New,
    /// The same message, which waits for the app.
    Waiting,
    /// The same message, which the app has, and what it answered.
    Done(Option<String>),
}

/// A message whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct DueMessage {
    pub(crate) seq: i64,
    pub(crate) message: PushedMessage,
    pub(crate) refusals: u32,
    pub(crate) came: UnixMillis,
    pub(crate) key: String,
}

/// What came of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryOutcome {
    /// The app has it, and answered this.
    Delivered(Option<String>),
    /// It goes again at `due`.
    Again {
        due: UnixMillis,
        refused: bool,
        /// Whether its user's later messages need not wait for it any more.
        aside: bool,
        why: String,
    },
    /// It does not go again by itself.
    Dead { why: String },
}

/// What need not wait any longer: its app is back, or it was to wait by a clock that was fast.
#[derive(Clone, Debug)]
pub(crate) struct HastenScope {
    /// None: of every mini program.
    pub(crate) appid: Option<String>,
    pub(crate) now: UnixMillis,
    /// What is due later than this.
    pub(crate) after: UnixMillis,
}

/// Until when what has ended is forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PruneLimits {
    /// Messages that were delivered.
    pub(crate) delivered: UnixMillis,
    /// Those whose repeats must hear the same answer.
    pub(crate) deeds: UnixMillis,
    /// Dead letters.
    pub(crate) dead: UnixMillis,
}

/// A message that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeadLetter {
    /// Its number, for [`ReplayScope::One`].
    pub id: i64,
    /// The mini program it was pushed to.
    pub appid: String,
    /// Who sent it.
    pub openid: Option<String>,
    /// `MsgType`, or `event/` and the `Event`.
    pub kind: String,
    /// The message as JSON text.
    pub body: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it came.
    pub came: UnixMillis,
    /// When it was given up.
    pub given_up: UnixMillis,
    /// Why, as told by the last try.
    pub why: String,
}

/// Which dead letters are delivered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayScope {
    /// The one with this number.
    One(i64),
    /// All of them.
    All,
}

/// How much is in the queue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InboxStatus {
    /// Messages that wait for the app.
    pub waiting: i64,
    /// Dead letters.
    pub dead: i64,
    /// How many of those that wait were tried already.
    #[serde(skip_serializing_if = "is_zero")]
    pub tried: i64,
    /// When the oldest of those that wait came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<UnixMillis>,
    /// Why the oldest of those that were tried was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl FromRow<'_, SqliteRow> for DueMessage {
    /// Reads a row of [`DUE`].
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let seq: i64 = row.try_get(0)?;
        Ok(Self {
            seq,
            message: PushedMessage {
                id: seq.to_string(),
                appid: row.try_get(1)?,
                openid: row.try_get(2)?,
                kind: row.try_get(3)?,
                body: row.try_get(4)?,
                tries: row.try_get(5)?,
            },
            refusals: row.try_get(6)?,
            came: UnixMillis::new(row.try_get(7)?),
            key: row.try_get(8)?,
        })
    }
}

impl FromRow<'_, SqliteRow> for DeadLetter {
    /// Reads a row of [`DEAD`].
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let why: Option<String> = row.try_get(8)?;
        Ok(Self {
            id: row.try_get(0)?,
            appid: row.try_get(1)?,
            openid: row.try_get(2)?,
            kind: row.try_get(3)?,
            body: row.try_get(4)?,
            tries: row.try_get(5)?,
            came: UnixMillis::new(row.try_get(6)?),
            given_up: UnixMillis::new(row.try_get(7)?),
            why: why.unwrap_or_default(),
        })
    }
}
