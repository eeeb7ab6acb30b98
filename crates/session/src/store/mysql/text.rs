//! SQL as text, with every value written as digits or hex: no quote to escape, and several
//! statements travel together.
//!
//! Prepared statements are for what is asked again and again in the same words. A batch of
//! logins never is: each size would be prepared anew, and the server's answer to that be
//! waited for. What a database server reads in one go costs one journey.

use std::fmt::Write as _;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, FromRow, MySqlConnection};

/// Statements on their way to the server.
#[derive(Default)]
pub(crate) struct Sql(String);

impl Sql {
    /// Words of ours.
    pub(crate) fn words(&mut self, words: &'static str) -> &mut Self {
        self.0.push_str(words);
        self
    }

    pub(crate) fn number(&mut self, number: i64) -> &mut Self {
        // Writing to a string does not fail.
        let _written = write!(self.0, "{number}");
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.push_str("x'");
        self.0.push_str(&hex::encode(bytes));
        self.0.push('\'');
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.words("_utf8mb4 ").bytes(text.as_bytes())
    }

    pub(crate) fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.words("NULL"),
        }
    }

    /// One after the other, with commas between them.
    pub(crate) fn list<T>(
        &mut self,
        all: impl IntoIterator<Item = T>,
        each: impl Fn(&mut Self, T),
    ) -> &mut Self {
        for (at, one) in all.into_iter().enumerate() {
            if at > 0 {
                self.0.push_str(", ");
            }
            each(self, one);
        }
        self
    }

    pub(crate) fn numbers(&mut self, numbers: &[i64]) -> &mut Self {
        self.list(numbers, |sql, number| {
            sql.number(*number);
        })
    }

    /// Runs the statements.
    pub(crate) async fn execute(self, conn: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        if !self.0.is_empty() {
            sqlx::raw_sql(AssertSqlSafe(self.0)).execute(conn).await?;
        }
        Ok(())
    }

    /// Runs the statements; the rows are those of the one that has any.
    pub(crate) async fn fetch<T>(self, conn: &mut MySqlConnection) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        let rows = sqlx::raw_sql(AssertSqlSafe(self.0)).fetch_all(conn).await?;
        rows.iter().map(T::from_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_its_place() {
        let mut sql = Sql::default();
        sql.words("a ").text("'; --").words(" b ").maybe(None);
        sql.words(" c ").numbers(&[1, -2]);
        assert_eq!(sql.0, "a _utf8mb4 x'273b202d2d' b NULL c 1, -2");
    }
}
