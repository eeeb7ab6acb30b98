//! The clock of a Wafer 2 server beside the zone of its database.
//!
//! Its columns are of a type that the database converts, so both must have one zone: a PHP
//! server writes and reads texts by its own clock. Where they differ, what the server writes
//! is right for itself alone, and what weappd writes looks hours old to it.

use sqlx::MySqlConnection;

/// Beijing's zone, which PHP servers of WeChat's world are set to.
const BEIJING_SECS: i64 = 8 * 3600;
/// No two clocks that are right differ by more.
const BLUR_SECS: i64 = 1800;

/// What is known of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockZones {
    /// How far the database's zone is ahead of UTC; none if it cannot be told.
    database_secs: Option<i64>,
    /// How far the newest of some rows of the old server is ahead of now.
    newest_secs: Option<i64>,
}

impl ClockZones {
    /// Asks the database.
    pub(crate) async fn of(conn: &mut MySqlConnection) -> Result<Self, sqlx::Error> {
        let sql = "SELECT CAST(TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), \
            CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@global.time_zone)) AS SIGNED)";
        let database_secs = sqlx::query_scalar(sql).fetch_one(&mut *conn).await?;
        // Some rows will do: the table may be long.
        let sql = "SELECT CAST(MAX(UNIX_TIMESTAMP(t.last_visit_time)) - UNIX_TIMESTAMP() AS SIGNED) \
            FROM (SELECT last_visit_time FROM cSessionInfo WHERE CHAR_LENGTH(skey) = 40 LIMIT 1000) AS t";
        let newest_secs = sqlx::query_scalar(sql).fetch_one(conn).await?;
        Ok(Self {
            database_secs,
            newest_secs,
        })
    }

    /// What is wrong with them, and what to do.
    pub(crate) fn advice(self) -> Option<String> {
        let here = self.database_secs?;
        let cure = |zone: &str| {
            format!(
                "set the database's zone to that of the old server's clock, default-time-zone = \
                 \"{zone}\" in my.cnf (or SET GLOBAL time_zone = '{zone}'), then restart the old \
                 server and weappd; [session] cauth_time_zone changes nothing there"
            )
        };
        let zone = zone_text(here);
        match self.newest_secs {
            Some(ahead) if ahead > BLUR_SECS => {
                // The row may be hours old: the clock is at least so far ahead.
                let there = zone_text((here + ahead).max(BEIJING_SECS));
                Some(format!(
                    "the Wafer 2 server beside weappd writes times that are ahead of this \
                     database's zone ({zone}), and takes every session that weappd opens for \
                     expired: {}",
                    cure(&there)
                ))
            }
            _ if here == BEIJING_SECS => None,
            _ => Some(format!(
                "the zone of this Wafer 2 database is {zone}: if the old server is the PHP one and \
                 its clock shows Beijing's time (date.timezone = PRC), it takes every session that \
                 weappd opens for expired; then {}. The Node server needs the database in the \
                 zone of its own process",
                cure("+08:00")
            )),
        }
    }
}

/// `+08:00`.
fn zone_text(secs: i64) -> String {
    let minutes = secs.abs() / 60;
    let sign = if secs < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(database_secs: Option<i64>, newest_secs: Option<i64>) -> Option<String> {
        ClockZones {
            database_secs,
            newest_secs,
        }
        .advice()
    }

    #[test]
    fn zones_that_differ_are_told_with_the_cure() {
        let told = advice(Some(0), Some(8 * 3600 - 120)).expect("certain");
        assert!(
            told.contains("(+00:00)") && told.contains("'+08:00'"),
            "{told}"
        );
        assert!(told.contains("time_zone") && !told.contains("if the old server"));
        let told = advice(Some(-18_000), None).expect("possible");
        assert!(told.contains("is -05:00: if the old server"), "{told}");
        assert!(told.contains("default-time-zone = \"+08:00\""), "{told}");
        for newest in [None, Some(-60), Some(0)] {
            assert!(advice(Some(0), newest).is_some());
            assert_eq!(advice(Some(BEIJING_SECS), newest), None);
        }
        assert_eq!(advice(None, Some(28_800)), None);
    }
}
