//! What a database server says when it does not do as it is told.

use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;

use crate::error::Error;

/// The error for a caller whose patience has ended.
pub(crate) fn silent(place: String, waited: Duration) -> Error {
    Error::StoreSilent {
        place,
        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The server's error number (MariaDB's and MySQL's lists agree on these).
pub(crate) fn number(err: &sqlx::Error) -> Option<u16> {
    let err = err.as_database_error()?;
    Some(err.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Whether the server refused what was to be written, not the writing: a packet beyond its
/// `max_allowed_packet`, or a text or number that a column of an old server does not take.
pub(crate) fn refuses_data(err: &Error) -> bool {
    let Error::WriteStore { source, .. } = err else {
        return false;
    };
    let number = source.downcast_ref::<sqlx::Error>().and_then(number);
    number.is_some_and(|number| matches!(number, 1153 | 1264 | 1366 | 1406 | 3988))
}

/// Whether the same may go well a moment later.
pub(crate) fn is_passing(err: &sqlx::Error) -> bool {
    match err {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Too many connections, shutting down, killed, lock waits and deadlocks, read only
        // while another server takes over.
        err => number(err).is_some_and(|number| {
            matches!(
                number,
                1020 | 1040 | 1047 | 1053 | 1077 | 1152 | 1158
                    ..=1161 | 1205 | 1213 | 1290 | 1317 | 1836 | 1927
            )
        }),
    }
}

/// What a person can do about an error of the server.
pub(crate) fn hint(err: &sqlx::Error) -> &'static str {
    match number(err) {
        Some(1044 | 1045 | 1698) => {
            "it refuses the user or the password; check the URL in [session] store"
        }
        Some(1049) => "there is no such database; create it with CHARACTER SET utf8mb4",
        Some(1142 | 1143 | 1227) => "grant weappd's account all rights on the database",
        Some(1290 | 1836) => "it is read only; name the server that may be written",
        Some(1021 | 1114) => "its disk is full; make room",
        Some(1153) => "raise its max_allowed_packet to at least 1M",
        Some(1205 | 1213) => {
            "somebody else holds rows of weappd's tables locked; end that transaction"
        }
        Some(1040) => "it has too many connections; raise its max_connections",
        None if matches!(err, sqlx::Error::Io(_)) => {
            "nobody answers there; check that it runs and the URL in [session] store"
        }
        _ => "see the cause",
    }
}
