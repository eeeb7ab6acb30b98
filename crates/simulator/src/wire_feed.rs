//! What the phone page hears while it stands open, as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Interval, interval};
use weappd_base::tasks::Stop;

use crate::server_news::ServerNews;
use crate::wire_history::{WireHistory, WireHop};

/// A page that hears nothing for longer believes that weappd is gone.
const BEAT: Duration = Duration::from_secs(4);

/// Where pages hear from.
#[derive(Clone, Debug)]
pub(crate) struct WireFeed {
    pub(crate) history: WireHistory,
    /// Which run of weappd this is: another one counts its hops anew.
    pub(crate) run: String,
    pub(crate) server: Option<watch::Receiver<ServerNews>>,
    pub(crate) stop: Stop,
}

/// One page's ear.
struct FeedListener {
    hops: Receiver<WireHop>,
    server: Option<watch::Receiver<ServerNews>>,
    beats: Interval,
    run: String,
    stop: Stop,
}

impl WireFeed {
    /// One `listening`, each hop since `last_id` (all that are kept, without one) and from now on,
    /// `server` when the business server changes, `lost` with a number when this listener was too
    /// slow, and `beat` now and then. Ends with weappd.
    pub(crate) fn events(
        &self,
        last_id: Option<&str>,
    ) -> Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>> {
        let (before, hops) = self.history.listen(self.after(last_id));
        let hello = Event::default()
            .event("listening")
            .retry(Duration::from_secs(1))
            .data(json!({ "run": self.run }).to_string());
        let server = (self.server.clone()).map(|mut server| of_server(&server.borrow_and_update()));
        let run = self.run.clone();
        let before = before.into_iter().map(move |hop| of_hop(&run, &hop));
        let known = std::iter::once(hello).chain(server).chain(before);
        let listener = FeedListener {
            hops,
            server: self.server.clone(),
            beats: interval(BEAT),
            run: self.run.clone(),
            stop: self.stop.clone(),
        };
        let to_come = stream::unfold(listener, |mut listener| async move {
            let event = listener.next().await?;
            Some((event, listener))
        });
        Box::pin(stream::iter(known).chain(to_come).map(Ok))
    }

    /// The number in an event's id, if it is of this run.
    fn after(&self, last_id: Option<&str>) -> Option<u64> {
        let (run, seq) = last_id?.rsplit_once('-')?;
        seq.parse().ok().filter(|_| run == self.run)
    }
}

impl FeedListener {
    async fn next(&mut self) -> Option<Event> {
        let server = async {
            if let Some(server) = &mut self.server
                && server.changed().await.is_ok()
            {
                return of_server(&server.borrow_and_update());
            }
            // Nobody tells, or nobody any more.
            std::future::pending().await
        };
        let event = tokio::select! {
            heard = self.hops.recv() => match heard {
                Ok(hop) => of_hop(&self.run, &hop),
                Err(RecvError::Lagged(count)) => {
                    Event::default().event("lost").data(count.to_string())
                }
                Err(RecvError::Closed) => return None,
            },
            event = server => event,
            _ = self.beats.tick() => Event::default().event("beat").data("{}"),
            () = self.stop.asked() => return None,
        };
        Some(event)
    }
}

fn of_hop(run: &str, hop: &WireHop) -> Event {
    let id = format!("{run}-{}", hop.seq);
    Event::default().id(id).data(&hop.json)
}

fn of_server(news: &ServerNews) -> Event {
    let text = serde_json::to_string(news).unwrap_or_else(|_| "{}".to_owned());
    Event::default().event("server").data(text)
}
