//! The client: requests go out over connections that are kept for the next ones.

use std::collections::HashMap;
use std::fmt;
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::answer::read_limited;
use crate::client_settings::ClientSettings;
use crate::connector::{ConnectionPool, IdleLimits, OutboundConnector};
use crate::exchange_error::{ExchangeError, SendError};
use crate::trust::{OutboundTrust, TrustRootsError};

/// Sends requests whose bodies are `B`.
pub struct OutboundClient<B = Full<Bytes>> {
    connector: OutboundConnector,
    limits: IdleLimits,
    pools: PoolScope<B>,
}

/// Who shares connections.
enum PoolScope<B> {
    AllThreads(Box<ConnectionPool<B>>),
    EachThread(Mutex<HashMap<ThreadId, ConnectionPool<B>>>),
}

impl<B> OutboundClient<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes ready to call; nothing is connected yet.
    pub fn new(settings: &ClientSettings<'_>) -> Result<Self, TrustRootsError> {
        Ok(Self::build(OutboundConnector::new(settings)?, settings))
    }

    /// A client for addresses of http alone, such as weappd's own listeners. It asks the machine
    /// for nothing, and so cannot fail.
    pub fn plain() -> Self {
        let settings = ClientSettings::new(OutboundTrust::PlainOnly);
        let http = OutboundConnector::plain(settings.connect_timeout);
        Self::build(OutboundConnector::Plain(http), &settings)
    }

    fn build(connector: OutboundConnector, settings: &ClientSettings<'_>) -> Self {
        let limits = IdleLimits {
            idle_timeout: settings.idle_timeout,
            max_idle_per_host: settings.max_idle_per_host,
        };
        let pools = if settings.per_thread {
            PoolScope::EachThread(Mutex::default())
        } else {
            PoolScope::AllThreads(Box::new(connector.pool(limits)))
        };
        Self {
            connector,
            limits,
            pools,
        }
    }

    /// Sends a request; the answer's body is still on its way.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, SendError> {
        match self.pool() {
            ConnectionPool::Plain(client) => client.request(request).await,
            ConnectionPool::Tls(client) => client.request(request).await,
        }
        .map_err(SendError::new)
    }

    /// Sends a request and reads the answer whole, if it has at most `limit` bytes.
    pub async fn exchange(
        &self,
        request: Request<B>,
        limit: usize,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let answer = self.send(request).await;
        let (parts, body) = answer.map_err(ExchangeError::Unreachable)?.into_parts();
        let body = read_limited(body, limit).await?;
        Ok(Response::from_parts(parts, body))
    }

    /// The same with one deadline for all of it: connecting, sending and reading.
    pub async fn exchange_within(
        &self,
        request: Request<B>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let in_time = tokio::time::timeout(deadline, self.exchange(request, limit)).await;
        in_time.unwrap_or_else(|_| {
            Err(ExchangeError::Timeout {
                after_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            })
        })
    }

    fn pool(&self) -> ConnectionPool<B> {
        match &self.pools {
            PoolScope::AllThreads(pool) => ConnectionPool::clone(pool),
            PoolScope::EachThread(pools) => pools
                .lock()
                .entry(std::thread::current().id())
                .or_insert_with(|| self.connector.pool(self.limits))
                .clone(),
        }
    }
}

impl<B> fmt::Debug for OutboundClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundClient")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer`, cuts it, and gives the address.
    fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            if let Ok((mut socket, _)) = listener.accept() {
                drop(std::io::Read::read(&mut socket, &mut [0; 4096]));
                drop(socket.write_all(answer));
            }
        });
        format!("http://{address}/secret")
    }

    fn client(trust: OutboundTrust<'_>) -> OutboundClient {
        OutboundClient::new(&ClientSettings::new(trust)).expect("a client")
    }

    async fn get(client: &OutboundClient, url: &str) -> Result<Response<Bytes>, ExchangeError> {
        let request = Request::get(url).body(Full::default()).expect("a request");
        client
            .exchange_within(request, 5, Duration::from_millis(400))
            .await
    }

    #[tokio::test]
    async fn every_end_of_an_exchange_has_its_own_word_and_none_tells_the_address() {
        let client = client(OutboundTrust::PlainOnly);
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345";
        let answer = get(&client, &serve(ok.as_bytes())).await.expect("whole");
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, &b"12345"[..])
        );
        let long = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n123456";
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12";
        let ends = [
            get(&client, &serve(long)).await,
            get(&client, &serve(half)).await,
            get(&client, &serve(b"")).await,
            get(&client, "http://127.0.0.1:1/secret").await,
        ];
        let words = ends.map(|end| {
            let error = end.expect_err("no answer");
            assert!(
                !format!("{error:?} {error}").contains("secret"),
                "{error:?}"
            );
            match error {
                ExchangeError::TooLong { limit: 5 } => "long",
                ExchangeError::CutShort(_) => "half",
                ExchangeError::Unreachable(cause) if cause.is_connect() => "nobody",
                ExchangeError::Unreachable(_) => "hung up",
                _ => "?",
            }
        });
        assert_eq!(words, ["long", "half", "hung up", "nobody"]);
    }

    #[tokio::test]
    async fn one_deadline_covers_the_whole_exchange() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let late = get(&client(OutboundTrust::PlainOnly), &url).await;
        assert!(matches!(
            late,
            Err(ExchangeError::Timeout { after_ms: 400 })
        ));
    }

    #[tokio::test]
    async fn addresses_that_the_trust_does_not_allow_are_not_called() {
        let plain = client(OutboundTrust::PlainOnly);
        let refused = get(&plain, "https://127.0.0.1:1/").await;
        assert!(matches!(refused, Err(ExchangeError::Unreachable(_))));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let pinned = client(OutboundTrust::PinnedOrPlain(&made.cert.pem()));
        let url = serve(b"HTTP/1.1 204 No Content\r\n\r\n");
        assert!(get(&pinned, &url).await.is_ok(), "plain as well");
    }
}
