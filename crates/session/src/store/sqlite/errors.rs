//! What SQLite says when it does not do as it is told.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::error::Error;

/// The result code of an SQLite error.
pub(crate) fn code(err: &sqlx::Error) -> Option<i32> {
    err.as_database_error()?.code()?.parse().ok()
}

/// What a person can do about an SQLite error, by its result code (sqlite.org/rescode).
pub(crate) fn hint(code: Option<i32>) -> &'static str {
    // It could not make the file of shared memory larger: there, room is what is missing.
    if code == Some(4874) {
        return "the disk is full; make room";
    }
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds it locked; end that program",
        Some(3 | 8 | 23) => "give weappd the right to write the file and its directory",
        Some(10) => "the disk reports errors; check it",
        Some(11 | 26) => {
            "the file is broken; restore a backup, or move it away to begin anew (everybody logs in again)"
        }
        Some(13) => "the disk is full; make room",
        Some(14) => "check that the directory exists and that weappd may write in it",
        _ => "see the cause",
    }
}

/// What is written to a file that was deleted is lost with it.
pub(crate) fn gone_from(path: &Path, gone: io::Error) -> Error {
    Error::WriteStore {
        place: path.display().to_string(),
        hint: "it was deleted or replaced while weappd ran, and nobody logs in until that is mended: stop weappd, put it and its key file back from a backup (without one all begin anew), and start weappd",
        source: Arc::new(gone),
    }
}

/// Whether SQLite refused what was to be written, not the writing: a text beyond its limit, or
/// one that breaks a rule of the table.
pub(crate) fn refuses_data(err: &Error) -> bool {
    let Error::WriteStore { source, .. } = err else {
        return false;
    };
    let err = source.downcast_ref::<rusqlite::Error>();
    let code = err.and_then(rusqlite::Error::sqlite_error_code);
    code.is_some_and(|code| {
        matches!(
            code,
            ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch
        )
    })
}
