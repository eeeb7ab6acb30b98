//! One call that many wait for (single flight): it goes out once, and all who joined it hear what
//! came of it.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// A call under way or over. Cheap to clone; every clone is the same call. It goes on as long as
/// one clone is waited for; whoever gives up takes nothing from the others.
pub struct SharedFlight<T: Clone>(Shared<BoxFuture<'static, T>>);

impl<T: Clone> SharedFlight<T> {
    /// A call that begins when somebody waits for it.
    pub fn new(call: BoxFuture<'static, T>) -> Self {
        Self(call.shared())
    }

    /// What comes of it.
    pub async fn wait(&self) -> T {
        self.0.clone().await
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.0.peek().is_some()
    }
}

impl<T: Clone> Clone for SharedFlight<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> fmt::Debug for SharedFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedFlight")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_call_and_who_gives_up_ends_it_for_nobody() {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let call = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            seen.fetch_add(1, Ordering::Relaxed) + 1
        };
        let flight = SharedFlight::new(call.boxed());
        let gave_up = tokio::time::timeout(Duration::from_secs(1), flight.wait()).await;
        assert!(gave_up.is_err() && !flight.is_over());
        let other = flight.clone();
        let both = futures_util::future::join(flight.wait(), other.wait()).await;
        assert_eq!((both, flight.is_over()), ((1, 1), true));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
