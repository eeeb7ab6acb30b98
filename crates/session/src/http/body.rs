//! Request bodies: bounded in size and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use weappd_wechat::mend_json;

/// The longest body taken: a login is about 1 KiB.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Reads a whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, BodyError> {
    read_within(body, PATIENCE).await
}

/// Reads an object with named fields. A text in it may be half an emoji, as when a phone cut
/// a name, or hold what JSON wants escaped.
pub(crate) fn object<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    weappd_base::json::object(text).or_else(|err| match str::from_utf8(text) {
        Ok(text) => weappd_base::json::object(mend_json(text).as_bytes()),
        Err(_) => Err(err),
    })
}

async fn read_within(body: Body, patience: Duration) -> Result<Bytes, BodyError> {
    let all = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(patience, all).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(err)) if err.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_bounded_in_size_and_in_time() {
        let fits = Body::from(vec![b'x'; MAX_BODY]);
        assert_eq!(read(fits).await.expect("fits").len(), MAX_BODY);
        let large = Body::from(vec![b'x'; MAX_BODY + 1]);
        assert_eq!(read(large).await, Err(BodyError::TooLarge));
        let endless =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let impatient = Duration::from_millis(1);
        assert_eq!(
            read_within(endless, impatient).await,
            Err(BodyError::TooSlow)
        );
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
        assert_eq!(
            read(Body::from_stream(broken)).await,
            Err(BodyError::Broken)
        );
    }
}
