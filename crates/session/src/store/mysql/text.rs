//! SQL as text, with every value written as digits or hex: no quote to escape, and several
//! statements travel together.
//!
//! Prepared statements are for what is asked again and again in the same words. A batch of
//! logins never is: each size would be prepared anew, and the server's answer to that be
//! waited for. What a database server reads in one go costs one journey.

use std::io::Write as _;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, FromRow, MySqlConnection};

/// Room for the text of some dozens of logins, so that it need not grow step by step.
const TEXT: usize = 64 * 1024;
/// As much as is sent before more is written.
const LONG: usize = 512 * 1024;

/// Statements on their way to the server.
pub(crate) struct SqlText(Vec<u8>);

impl SqlText {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(TEXT))
    }

    /// Whether it is time to send what was written: a server need not take more than 4 MB.
    pub(crate) fn is_long(&self) -> bool {
        self.0.len() > LONG
    }

    /// What was written so far; the next words begin anew.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// Words of ours.
    pub(crate) fn words(&mut self, words: &'static str) -> &mut Self {
        self.0.extend_from_slice(words.as_bytes());
        self
    }

    pub(crate) fn number(&mut self, number: i64) -> &mut Self {
        // Writing to memory does not fail.
        let _written = write!(self.0, "{number}");
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.words("x'");
        let at = self.0.len();
        self.0.resize(at + 2 * bytes.len(), b'0');
        // The room is exactly as long as it must be.
        let _written = hex::encode_to_slice(bytes, &mut self.0[at..]);
        self.words("'")
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
                self.words(", ");
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
            sqlx::raw_sql(self.sealed()?).execute(conn).await?;
        }
        Ok(())
    }

    /// Runs the statements; the rows are those of the one that has any.
    pub(crate) async fn fetch<T>(self, conn: &mut MySqlConnection) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        let rows = sqlx::raw_sql(self.sealed()?).fetch_all(conn).await?;
        rows.iter().map(T::from_row).collect()
    }

    /// Words of ours, digits and hex: nobody else's word is in it.
    fn sealed(self) -> Result<AssertSqlSafe<String>, sqlx::Error> {
        let text = String::from_utf8(self.0).map_err(|err| sqlx::Error::Encode(err.into()))?;
        Ok(AssertSqlSafe(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_its_place() {
        let mut sql = SqlText::new();
        sql.words("a ").text("'; --").words(" b ").maybe(None);
        sql.words(" c ").numbers(&[1, -2]);
        assert_eq!(sql.0, b"a _utf8mb4 x'273b202d2d' b NULL c 1, -2");
    }
}
