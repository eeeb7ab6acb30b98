//! WeChat's two doors, put into the server: how a pushed message reaches the app.
//!
//! A message goes through the loopback listener, as the tunnels' callbacks do, so that it meets the
//! site's own routes. There nobody's claim to be a user is believed; the message carries a
//! pass that was made for it and is good once, and the door writes `X-WX-OPENID`,
//! `X-WX-APPID` and `X-WX-SOURCE` for it.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use weappd_base::local_host::LocalHosts;
use weappd_base::random::RandomSource;
use weappd_base::request_id::REQUEST_ID;
use weappd_base::secret::Secret;
use weappd_edge::{Caller, Identify};
use weappd_gateway::{
    AppAnswer, DeliverMessage, DeliveryError, GatewayApp, GatewayParts, GatewayService,
    GatewaySettings, LeaseStore, PushedMessage,
};
use weappd_outbound::{OutboundClient, read_limited};
use weappd_wechat::AppCredential;

use crate::exit::ExitFailure;
use crate::plan::ServerPlan;
use crate::server_context::ServerContext;
use crate::session_leases::SessionLeases;
use crate::withdrawals::{ForgetWithdrawn, LateSessions};

/// Shows the loopback listener for whom a message speaks.
const PASS: &str = "x-weappd-pass";
/// The most that is read of an app's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// What the gateway is to be.
#[derive(Debug)]
pub(crate) struct GatewayPlan {
    /// The `[gateway]` section.
    pub(crate) config: weappd_gateway::Config,
    /// Where WeChat is.
    pub(crate) wechat_endpoint: String,
    /// Every mini program.
    pub(crate) mini_apps: Vec<GatewayApp>,
    /// Who may ask for tokens.
    pub(crate) callers: Arc<Vec<Secret>>,
    /// By which names programs call weappd.
    pub(crate) local_hosts: LocalHosts,
    /// Where the messages of a mini program go, by its AppID.
    pub(crate) homes: HashMap<String, MessageTarget>,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageTarget {
    /// A name of the site.
    pub(crate) host: String,
    /// The path its app takes messages at.
    pub(crate) path: String,
}

/// What the gateway is to be, of a plan: every mini program, and the site each one's
/// messages go to.
pub(crate) fn of_plan(plan: &ServerPlan, callers: Arc<Vec<Secret>>) -> GatewayPlan {
    let push = |appid: &str| plan.pushes.get(appid);
    let mini_apps = plan.mini_apps.iter().map(|app| GatewayApp {
        credential: AppCredential {
            appid: app.appid.clone(),
            secret: app.secret.clone(),
        },
        token: push(&app.appid).and_then(|push| push.token.clone()),
        encoding_aes_key: push(&app.appid).and_then(|push| push.encoding_aes_key.clone()),
        pushes: push(&app.appid).map_or_else(Vec::new, |push| push.further.clone()),
        answer: push(&app.appid).map_or_else(Default::default, |push| push.answer),
        api_security: push(&app.appid).and_then(|push| push.api_security.clone()),
    });
    // The first site that serves a mini program is where its messages go.
    let served = plan.sites.iter().rev();
    let served = served.flat_map(|site| site.appids.iter().map(move |appid| (site, appid)));
    let homes = served.filter_map(|(site, appid)| {
        let home = MessageTarget {
            // Any name will do that leads to the site.
            host: site.hosts.first()?.replace('*', "weappd"),
            path: push(appid)?.path.clone(),
        };
        Some((appid.clone(), home))
    });
    GatewayPlan {
        config: plan.sections.gateway.clone(),
        wechat_endpoint: plan.sections.wechat.endpoint.clone(),
        mini_apps: mini_apps.collect(),
        callers,
        local_hosts: plan.sections.internal_access.hosts.clone(),
        homes: homes.collect(),
    }
}

/// Builds the gateway. Deliveries end with the front door.
pub(crate) async fn build(
    context: &ServerContext,
    data_dir: &Path,
    settings: GatewaySettings,
    leases: Option<SessionLeases>,
) -> Result<GatewayService, ExitFailure> {
    GatewayService::build(GatewayParts {
        settings,
        data_dir: data_dir.to_owned(),
        lease_store: leases.map(|leases| Arc::new(leases) as Arc<dyn LeaseStore>),
        clock: context.clock.clone(),
        tokens: context.random.clone(),
        work: context.work.clone(),
        tasks: context.tasks.clone(),
        stop: context.front.clone(),
        tap: context.tap.clone(),
    })
    .await
    .map_err(|error| ExitFailure::new(&error, error.hint()))
}

/// What a plan says; messages reach their apps through the loopback listener at `loopback`.
pub(crate) fn settings(
    context: &ServerContext,
    plan: GatewayPlan,
    (loopback, passes): (Option<SocketAddr>, DeliveryPasses),
    sessions: LateSessions,
) -> GatewaySettings {
    // Unused when no mini program takes messages.
    let loopback = loopback.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let random = context.random.clone();
    let delivery = LoopbackDelivery::new(loopback, plan.homes, passes, random);
    GatewaySettings {
        config: plan.config,
        mini_apps: plan.mini_apps,
        wechat_endpoint: plan.wechat_endpoint,
        callers: plan.callers,
        local_hosts: plan.local_hosts,
        deliver: Arc::new(ForgetWithdrawn::new(sessions, delivery)),
    }
}

/// Passes that were given out and not shown yet. All clones are one book.
#[derive(Clone, Default)]
pub(crate) struct DeliveryPasses(Arc<Mutex<HashMap<String, (String, String)>>>);

impl DeliveryPasses {
    /// A pass for a message of `appid`'s user `openid`, good once and until it is dropped.
    fn give(&self, tokens: &RandomSource, appid: &str, openid: &str) -> DeliveryPass {
        let text = tokens.url256();
        let who = (appid.to_owned(), openid.to_owned());
        self.book().insert(text.clone(), who);
        DeliveryPass {
            text,
            passes: self.clone(),
        }
    }

    /// For whom a pass speaks; it is used up.
    fn take(&self, text: &str) -> Option<(String, String)> {
        self.book().remove(text)
    }

    fn book(&self) -> MutexGuard<'_, HashMap<String, (String, String)>> {
        // No code that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DeliveryPasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passes({})", self.book().len())
    }
}

struct DeliveryPass {
    text: String,
    passes: DeliveryPasses,
}

impl Drop for DeliveryPass {
    fn drop(&mut self) {
        drop(self.passes.take(&self.text));
    }
}

/// Tells the loopback listener who is calling: the bearer of a pass, or whoever `others` says.
pub(crate) struct PassIdentify<I> {
    pub(crate) passes: DeliveryPasses,
    pub(crate) others: I,
}

impl<I: Identify> Identify for PassIdentify<I> {
    fn identify<'a>(&'a self, site: &'a [String], headers: &'a HeaderMap) -> BoxFuture<'a, Caller> {
        let pass = headers.get(PASS).and_then(|pass| pass.to_str().ok());
        match pass.and_then(|pass| self.passes.take(pass)) {
            Some((appid, openid)) => Box::pin(std::future::ready(Caller::Known {
                openid,
                unionid: None,
                appid,
            })),
            None => self.others.identify(site, headers),
        }
    }

    fn identify_in_memory(&self, site: &[String], headers: &HeaderMap) -> Option<Caller> {
        // A pass is good once: it is taken where the caller is asked for.
        let others = || self.others.identify_in_memory(site, headers);
        (!headers.contains_key(PASS)).then(others).flatten()
    }
}

/// Brings messages through the loopback listener.
struct LoopbackDelivery {
    at: SocketAddr,
    homes: HashMap<String, MessageTarget>,
    passes: DeliveryPasses,
    tokens: RandomSource,
    client: OutboundClient,
}

impl LoopbackDelivery {
    fn new(
        at: SocketAddr,
        homes: HashMap<String, MessageTarget>,
        passes: DeliveryPasses,
        tokens: RandomSource,
    ) -> Self {
        Self {
            at,
            homes,
            passes,
            tokens,
            client: OutboundClient::plain(),
        }
    }

    async fn post(&self, message: &PushedMessage) -> Result<AppAnswer, DeliveryError> {
        let home = self.homes.get(&message.appid).ok_or_else(|| {
            DeliveryError("no site serves this mini program: see sites in weappd.toml".to_owned())
        })?;
        let openid = message.openid.as_deref().unwrap_or_default();
        let pass = self.passes.give(&self.tokens, &message.appid, openid);
        let request = Request::post(format!("http://{}{}", self.at, home.path))
            .header(header::HOST, &home.host)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(PASS, &pass.text)
            .header(REQUEST_ID, message.request_id())
            .header("x-weappd-message-id", &message.id)
            .header("x-weappd-message-try", message.tries.saturating_add(1))
            .body(Full::new(Bytes::from(message.body.clone())))
            .map_err(|_| DeliveryError(format!("{} is not a path", home.path)))?;
        let answer = self.client.send(request).await.map_err(|problem| {
            tracing::debug!(%problem, "the loopback listener did not answer");
            DeliveryError("weappd's own loopback listener did not answer".to_owned())
        })?;
        let status = answer.status();
        // The door's own words for an app that is not there.
        if [502, 503, 504].contains(&status.as_u16()) {
            return Err(DeliveryError(format!(
                "the app is not there (HTTP {})",
                status.as_u16()
            )));
        }
        let body = read_limited(answer.into_body(), MAX_ANSWER).await;
        Ok(read_answer(status, body.ok()))
    }
}

/// An answer too long to be a reply, or broken off, says nothing.
fn read_answer(status: StatusCode, body: Option<Bytes>) -> AppAnswer {
    AppAnswer {
        status,
        is_whole: body.is_some(),
        body: body.unwrap_or_default(),
    }
}

impl DeliverMessage for LoopbackDelivery {
    fn deliver<'a>(
        &'a self,
        message: &'a PushedMessage,
    ) -> BoxFuture<'a, Result<AppAnswer, DeliveryError>> {
        Box::pin(self.post(message))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use http_body_util::BodyExt as _;
    use weappd_base::tasks::Tasks;

    use super::*;
    use crate::builtin::NobodyKnown;

    type SeenRequests = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

    fn message(openid: Option<&str>) -> PushedMessage {
        PushedMessage {
            id: "7".to_owned(),
            appid: "wx1".to_owned(),
            openid: openid.map(str::to_owned),
            kind: "text".to_owned(),
            body: "{\"MsgId\":7}".to_owned(),
            tries: 1,
        }
    }

    /// A loopback listener that answers `status` and notes what came, and for whom it spoke.
    fn loopback_listener(passes: &DeliveryPasses, status: u16) -> (LoopbackDelivery, SeenRequests) {
        let seen = SeenRequests::default();
        let identify = Arc::new(PassIdentify {
            passes: passes.clone(),
            others: NobodyKnown,
        });
        let answer = async move |State(seen): State<SeenRequests>,
                                 request: axum::extract::Request| {
            let (parts, body) = request.into_parts();
            let who = match identify.identify(&[], &parts.headers).await {
                Caller::Known { openid, appid, .. } => format!("{appid} {openid}"),
                _ => "nobody".to_owned(),
            };
            let body = body.collect().await.expect("a body").to_bytes();
            let text = format!("{} {who} {}", parts.uri, String::from_utf8_lossy(&body));
            let again = match identify.identify(&[], &parts.headers).await {
                Caller::Nobody => "used up",
                _ => "good twice",
            };
            let note = (text, parts.headers, again.to_owned());
            seen.lock().expect("a lock").push(note);
            (StatusCode::from_u16(status).expect("a status"), "said")
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let at = listener.local_addr().expect("an address");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        Tasks::new().spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        let home = MessageTarget {
            host: "www.example.com".to_owned(),
            path: "/message".to_owned(),
        };
        let homes = HashMap::from([("wx1".to_owned(), home)]);
        (
            LoopbackDelivery::new(at, homes, passes.clone(), RandomSource::system()),
            seen,
        )
    }

    #[tokio::test]
    async fn a_message_speaks_for_its_user_once() {
        let passes = DeliveryPasses::default();
        let (door, seen) = loopback_listener(&passes, 200);
        let answer = door.deliver(&message(Some("o1"))).await.expect("delivered");
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"said"[..]));
        let seen = seen.lock().expect("a lock");
        let (text, headers, again) = &seen[0];
        assert_eq!(text, "/message wx1 o1 {\"MsgId\":7}");
        assert_eq!(headers["host"], "www.example.com");
        assert_eq!(headers["x-weappd-message-id"], "7");
        assert_eq!(headers[REQUEST_ID], "message-7-2");
        assert_eq!(headers["x-weappd-message-try"], "2");
        assert_eq!(again, "used up");
        assert_eq!(format!("{passes:?}"), "Passes(0)");
    }

    #[tokio::test]
    async fn an_app_that_is_not_there_is_told_from_one_that_refuses() {
        for (status, there) in [(500, true), (404, true), (502, false), (503, false)] {
            let passes = DeliveryPasses::default();
            let (door, _) = loopback_listener(&passes, status);
            let answer = door.deliver(&message(None)).await;
            assert_eq!(answer.is_ok(), there, "{status}");
        }
        let passes = DeliveryPasses::default();
        let (door, _) = loopback_listener(&passes, 200);
        let stray = PushedMessage {
            appid: "wx2".to_owned(),
            ..message(None)
        };
        assert!(door.deliver(&stray).await.is_err());
    }

    #[tokio::test]
    async fn a_pass_never_shown_is_taken_back() {
        let passes = DeliveryPasses::default();
        let pass = passes.give(&RandomSource::system(), "wx1", "o1");
        assert_eq!(format!("{passes:?}"), "Passes(1)");
        drop(pass);
        assert_eq!(format!("{passes:?}"), "Passes(0)");
    }
}
