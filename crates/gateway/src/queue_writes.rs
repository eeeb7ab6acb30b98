//! Every write of the queue, with its SQL.

use weappd_base::unix_time::UnixMillis;

use crate::message_records::{
    DeliveryOutcome, HastenScope, NewMessage, PruneLimits, PutOutcome, ReplayScope,
};
use crate::queue_write::{QueueChange, QueueWrite};

const PUT: &str = "INSERT INTO messages (appid, key, lane, openid, kind, body, came, due, deed) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) ON CONFLICT (appid, key) DO NOTHING";
const KNOWN: &str = "SELECT seq, state, answer FROM messages WHERE appid = ?1 AND key = ?2";
/// WeChat comes again with what waits or was given up: it goes at once, from the start.
const REVIVE: &str = "UPDATE messages SET state = 0, due = min(due, ?2), \
    tries = CASE state WHEN 2 THEN 0 ELSE tries END, \
    came = CASE state WHEN 2 THEN ?2 ELSE came END WHERE seq = ?1";
const DELIVERED: &str = "UPDATE messages SET state = 1, body = '', tries = tries + 1, due = ?2, \
    why = NULL, answer = ?3 WHERE seq = ?1 AND state = 0";
const AGAIN: &str = "UPDATE messages SET tries = tries + 1, refusals = refusals + ?3, due = ?2, \
    why = ?4, aside = aside OR ?5 WHERE seq = ?1 AND state = 0";
const DEAD: &str = "UPDATE messages SET state = 2, tries = tries + 1, due = ?2, why = ?3 \
    WHERE seq = ?1 AND state = 0";
const REPLAY: &str = "UPDATE messages SET state = 0, tries = 0, refusals = 0, aside = 0, \
    came = ?1, due = ?1 WHERE state = 2 AND (?2 IS NULL OR seq = ?2)";
const HASTEN: &str = "UPDATE messages SET due = ?2 \
    WHERE state = 0 AND (?1 IS NULL OR appid = ?1) AND due > ?3";
const PRUNE: &str = "DELETE FROM messages WHERE (state = 1 AND deed = 0 AND due < ?1) \
    OR (state = 1 AND deed = 1 AND due < ?2) OR (state = 2 AND due < ?3)";

/// What became of a delivery.
pub(crate) struct SettledDelivery {
    pub(crate) seq: i64,
    pub(crate) outcome: DeliveryOutcome,
    pub(crate) now: UnixMillis,
}

/// Dead letters that are to go anew.
pub(crate) struct ReplayedLetters {
    pub(crate) scope: ReplayScope,
    pub(crate) now: UnixMillis,
}

fn signed(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl QueueWrite for NewMessage {
    /// None if the queue is full.
    type Answer = Option<PutOutcome>;

    async fn write(&self, change: &mut QueueChange<'_>) -> Result<Self::Answer, sqlx::Error> {
        let known: Option<(i64, i64, Option<String>)> = sqlx::query_as(KNOWN)
            .bind(&self.appid)
            .bind(&self.key)
            .fetch_optional(&mut *change.conn)
            .await?;
        let Some((seq, state, answer)) = known else {
            if change.room - change.added <= 0 {
                return Ok(None);
            }
            // A message of nobody waits for nobody.
            let last = self.openid.as_ref().unwrap_or(&self.key);
            sqlx::query(PUT)
                .bind(&self.appid)
                .bind(&self.key)
                .bind(format!("{} {last}", self.appid))
                .bind(&self.openid)
                .bind(&self.kind)
                .bind(&self.body)
                .bind(self.now.get())
                .bind(i64::from(self.is_deed))
                .execute(&mut *change.conn)
                .await?;
            change.added += 1;
            return Ok(Some(PutOutcome::New));
        };
        let found = match state {
            1 => PutOutcome::Done(answer),
            // Given up, and WeChat was told `success` long ago.
            2 if !self.is_deed => PutOutcome::Done(None),
            _ => PutOutcome::Waiting,
        };
        if found == PutOutcome::Waiting && self.is_deed {
            let revive = sqlx::query(REVIVE).bind(seq).bind(self.now.get());
            revive.execute(&mut *change.conn).await?;
        }
        change.added += i64::from(state == 2 && found == PutOutcome::Waiting);
        Ok(Some(found))
    }
}

impl QueueWrite for SettledDelivery {
    type Answer = ();

    async fn write(&self, change: &mut QueueChange<'_>) -> Result<(), sqlx::Error> {
        let Self { seq, outcome, now } = self;
        let (query, is_over) = match outcome {
            DeliveryOutcome::Delivered(answer) => {
                let query = sqlx::query(DELIVERED).bind(seq).bind(now.get());
                (query.bind(answer), true)
            }
            DeliveryOutcome::Again {
                due,
                refused,
                aside,
                why,
            } => {
                let query = sqlx::query(AGAIN).bind(seq).bind(due.get());
                let query = query.bind(i64::from(*refused)).bind(why);
                (query.bind(i64::from(*aside)), false)
            }
            DeliveryOutcome::Dead { why } => {
                (sqlx::query(DEAD).bind(seq).bind(now.get()).bind(why), true)
            }
        };
        let rows = query.execute(&mut *change.conn).await?.rows_affected();
        if is_over {
            change.added -= signed(rows);
        }
        Ok(())
    }
}

impl QueueWrite for ReplayedLetters {
    /// How many.
    type Answer = u64;

    async fn write(&self, change: &mut QueueChange<'_>) -> Result<u64, sqlx::Error> {
        let seq = match self.scope {
            ReplayScope::One(seq) => Some(seq),
            ReplayScope::All => None,
        };
        let replay = sqlx::query(REPLAY).bind(self.now.get()).bind(seq);
        let rows = replay.execute(&mut *change.conn).await?.rows_affected();
        change.added += signed(rows);
        Ok(rows)
    }
}

impl QueueWrite for HastenScope {
    /// How many.
    type Answer = u64;

    async fn write(&self, change: &mut QueueChange<'_>) -> Result<u64, sqlx::Error> {
        let hasten = sqlx::query(HASTEN)
            .bind(self.appid.as_deref())
            .bind(self.now.get())
            .bind(self.after.get());
        Ok(hasten.execute(&mut *change.conn).await?.rows_affected())
    }
}

impl QueueWrite for PruneLimits {
    /// How many.
    type Answer = u64;

    async fn write(&self, change: &mut QueueChange<'_>) -> Result<u64, sqlx::Error> {
        let prune = sqlx::query(PRUNE).bind(self.delivered.get());
        let prune = prune.bind(self.deeds.get()).bind(self.dead.get());
        Ok(prune.execute(&mut *change.conn).await?.rows_affected())
    }
}
