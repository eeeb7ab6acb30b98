//! An answer's body, read whole, up to a limit.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::exchange_error::ExchangeError;

/// Reads `body` to its end, if it has at most `limit` bytes.
pub async fn read_limited<B>(body: B, limit: usize) -> Result<Bytes, ExchangeError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, limit).collect().await;
    let read = read.map_err(|cause| {
        if cause.is::<LengthLimitError>() {
            ExchangeError::TooLong { limit }
        } else {
            ExchangeError::CutShort(cause)
        }
    })?;
    Ok(read.to_bytes())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit_and_not_a_byte_more() {
        let read = async |limit| read_limited(Full::new(Bytes::from_static(b"12345")), limit).await;
        assert_eq!(read(5).await.ok().as_deref(), Some(&b"12345"[..]));
        assert!(matches!(
            read(4).await,
            Err(ExchangeError::TooLong { limit: 4 })
        ));
    }

    #[tokio::test]
    async fn half_a_body_is_none() {
        let half = stream::iter([
            Ok(http_body::Frame::data(Bytes::from_static(b"12"))),
            Err(std::io::Error::other("gone")),
        ]);
        let read = read_limited(StreamBody::new(half), 5).await;
        assert!(matches!(read, Err(ExchangeError::CutShort(_))), "{read:?}");
    }
}
