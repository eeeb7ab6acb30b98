//! Rows of a database as structs.

/// Reads a struct from the columns of a row, in the order in which its fields are named here.
/// Columns are numbers, texts and bytes, or `NULL`; what stands after a field's name makes the
/// field of the number.
macro_rules! impl_from_row {
    (@field $column:expr) => { $column };
    (@field $column:expr, $made:path) => { $made($column) };
    ($row:ident { $($field:ident $(: $made:path)?),+ $(,)? }) => {
        impl<'r, R> sqlx::FromRow<'r, R> for $row
        where
            R: sqlx::Row,
            usize: sqlx::ColumnIndex<R>,
            i64: sqlx::Type<R::Database> + sqlx::Decode<'r, R::Database>,
            String: sqlx::Type<R::Database> + sqlx::Decode<'r, R::Database>,
            Vec<u8>: sqlx::Type<R::Database> + sqlx::Decode<'r, R::Database>,
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                let mut columns = 0_usize..;
                // The fields are evaluated as they are written.
                Ok(Self {
                    $($field: impl_from_row!(
                        @field row.try_get(columns.next().unwrap_or_default())? $(, $made)?
                    )),+
                })
            }
        }
    };
}

pub(crate) use impl_from_row;
