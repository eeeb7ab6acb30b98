//! A user's session keys in SQLite.

use rusqlite::{Connection, Result};
use weappd_base::secret::Secret;

use crate::store::rules::WriteRules;
use crate::vault::{SecretKind, SecretOwner};

const KEYS_OF: &str = include_str!("../../../schema/sqlite/keys_of.sql");
const PUT_KEY: &str = include_str!("../../../schema/sqlite/put_key.sql");
const DROP_KEY: &str = include_str!("../../../schema/sqlite/drop_key.sql");

/// Keeps a user's session key, as the newest, and no more keys than are kept.
pub(crate) fn put_key(
    change: &Connection,
    (user, owner): (i64, SecretOwner<'_>),
    (key, now): (&Secret, i64),
    rules: &WriteRules,
) -> Result<()> {
    let name = rules.vault.fingerprint(key);
    let mut known = change.prepare_cached(KEYS_OF)?;
    let known = known.query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let known = known.collect::<Result<Vec<(i64, [u8; 16])>>>()?;
    let newest = known.first().map_or(0, |(place, _)| *place);
    let others = known.iter().filter(|(_, other)| *other != name).count();
    let mut drop_key = change.prepare_cached(DROP_KEY)?;
    let mut excess = (others + 1).saturating_sub(rules.keys_kept());
    for (place, other) in known.iter().rev() {
        // The same key given again is the newest again.
        let is_same = *other == name;
        if is_same || excess > 0 {
            drop_key.execute([user, *place])?;
            excess -= usize::from(!is_same);
        }
    }
    let sealed = rules.vault.seal(SecretKind::SessionKey, owner, key);
    let mut put_key = change.prepare_cached(PUT_KEY)?;
    put_key.execute((user, newest + 1, name, sealed, now))?;
    Ok(())
}
