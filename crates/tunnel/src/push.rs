//! Pushing packets to many tunnels: the frame is made once and shared by all receivers.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::business::BusinessServer;
use crate::counters::MessageWay;
use crate::hub::add;
use crate::id::TunnelId;
use crate::lenient_list::LenientList;
use crate::packet;
use crate::socket::to_phone;
use crate::tunnel::{CloseReason, OfferResult};
use crate::tunnels::TunnelServer;
use crate::waker::WakeBatch;

/// How many tunnels are served before others may use the thread.
const YIELD_EVERY: usize = 1024;

/// A packet as a business server sends it.
#[derive(Debug, Deserialize)]
pub(crate) struct PushPacket<'a> {
    #[serde(rename = "tunnelIds", borrow)]
    tunnel_ids: Option<LenientList<RawTunnelId<'a>>>,
    r#type: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
}

impl PushPacket<'_> {
    /// What goes to phones: without a byte order mark, which no phone's JSON has.
    fn content(&self) -> Option<&str> {
        let content = self.content.as_deref()?;
        Some(content.strip_prefix('\u{feff}').unwrap_or(content))
    }
}

/// A tunnelId as it came, lent if it needed no unescaping.
#[derive(Debug, Deserialize)]
struct RawTunnelId<'a>(#[serde(borrow)] Cow<'a, str>);

/// Why nothing was pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// A field is missing.
    Missing(&'static str),
    /// The content would upset the phone.
    Content,
    /// The content is longer than may wait for a phone.
    TooLong { bytes: usize, most: usize },
}

/// Which tunnels did not get a packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MissedTunnels {
    /// Certainly dead: the business server may forget them.
    pub(crate) invalid: Vec<String>,
    /// Perhaps alive, but this packet did not reach them.
    pub(crate) undelivered: Vec<String>,
}

/// What a packet does, checked.
enum PushAction {
    Deliver { frame: Bytes, content: String },
    Close,
    Nothing,
}

/// Pushes all packets, in order, or none if one is wrong.
pub(crate) async fn push(
    tunnels: &TunnelServer,
    business: &Arc<BusinessServer>,
    packets: &[PushPacket<'_>],
) -> Result<MissedTunnels, PushError> {
    let most = tunnels.table().limits.queue;
    let mut actions = Vec::with_capacity(packets.len());
    for packet in packets {
        actions.push(check(packet, most)?);
    }
    let mut missed = MissedTunnels::default();
    let mut run = PushRun {
        tunnels,
        business,
        most,
        wakes: WakeBatch::default(),
        served: 0,
        delivered: 0,
        bytes: 0,
    };
    for (names, action) in &actions {
        let mut seen = HashSet::with_capacity(if names.len() > 1 { names.len() } else { 0 });
        for RawTunnelId(name) in *names {
            if run.served % YIELD_EVERY == YIELD_EVERY - 1 {
                run.wakes.wake();
                tokio::task::yield_now().await;
            }
            run.served += 1;
            let id = TunnelId::parse(name);
            // The same id twice in a packet is one receiver.
            if names.len() > 1 && id.is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            match run.one(id, action) {
                PushReach::Yes => {}
                PushReach::Never => missed.invalid.push(name.clone().into_owned()),
                PushReach::NotNow => missed.undelivered.push(name.clone().into_owned()),
            }
        }
    }
    let counts = &tunnels.hub().counts;
    add(&counts.pushes, packets.len() as u64);
    add(&counts.deliveries, run.delivered);
    let bytes = &tunnels.hub().counters.bytes;
    bytes.add(MessageWay::Out, run.bytes);
    add(&counts.undelivered, missed.undelivered.len() as u64);
    Ok(missed)
}

/// Reads a packet's receivers and deed.
fn check<'p, 'a>(
    packet: &'p PushPacket<'a>,
    most: usize,
) -> Result<(&'p [RawTunnelId<'a>], PushAction), PushError> {
    let names = packet
        .tunnel_ids
        .as_ref()
        .map(|LenientList(names)| names.as_slice())
        .ok_or(PushError::Missing("tunnelIds"))?;
    let action = match packet.r#type.as_deref() {
        None => return Err(PushError::Missing("type")),
        Some("message") => {
            let content = packet.content().ok_or(PushError::Missing("content"))?;
            if !packet::is_message_content(content) {
                return Err(PushError::Content);
            }
            let frame = packet::message(content);
            if frame.len() > most {
                return Err(PushError::TooLong {
                    bytes: frame.len(),
                    most,
                });
            }
            PushAction::Deliver {
                frame,
                content: content.to_owned(),
            }
        }
        Some("close") => PushAction::Close,
        Some(_) => PushAction::Nothing,
    };
    Ok((names, action))
}

/// Whether one tunnel got it.
enum PushReach {
    Yes,
    Never,
    NotNow,
}

/// One push under way.
struct PushRun<'a> {
    tunnels: &'a TunnelServer,
    business: &'a Arc<BusinessServer>,
    /// What may wait for a phone, in bytes.
    most: usize,
    wakes: WakeBatch,
    served: usize,
    delivered: u64,
    bytes: u64,
}

impl PushRun<'_> {
    fn one(&mut self, id: Option<TunnelId>, action: &PushAction) -> PushReach {
        let Some(id) = id else {
            return PushReach::Never;
        };
        let hub = self.tunnels.hub();
        if !hub.is_ours(id) {
            return PushReach::NotNow;
        }
        match action {
            PushAction::Nothing => PushReach::Yes,
            PushAction::Deliver { frame, content } => self.deliver(id, frame, content),
            PushAction::Close => {
                let tunnel = hub.find(id).filter(|tunnel| {
                    // Another business's tunnel is no tunnel.
                    tunnel.is_of(self.business)
                });
                let closed = tunnel.is_some_and(|tunnel| {
                    self.tunnels
                        .close(&tunnel, None, Some(CloseReason::Asked), &mut self.wakes)
                });
                if closed {
                    PushReach::Yes
                } else {
                    PushReach::Never
                }
            }
        }
    }

    fn deliver(&mut self, id: TunnelId, frame: &Bytes, content: &str) -> PushReach {
        let (business, most, wakes) = (self.business, self.most, &mut self.wakes);
        let offer = self.tunnels.hub().with(id, |tunnel| {
            if tunnel.is_of(business) {
                tunnel.offer(frame, most, wakes)
            } else {
                OfferResult::Dead
            }
        });
        match offer {
            Some(OfferResult::Taken) => {
                self.delivered += 1;
                self.bytes += content.len() as u64;
                self.tunnels.tap().record(|| {
                    to_phone(
                        id,
                        "message",
                        json!({ "packet": format!("message:{content}") }),
                    )
                });
                PushReach::Yes
            }
            Some(OfferResult::Full) => PushReach::NotNow,
            Some(OfferResult::Slow) => {
                if let Some(tunnel) = self.tunnels.hub().find(id) {
                    self.tunnels
                        .close(&tunnel, None, Some(CloseReason::Slow), &mut self.wakes);
                }
                PushReach::Never
            }
            Some(OfferResult::Dead) | None => PushReach::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<usize, PushError> {
        let packet: PushPacket<'_> = serde_json::from_str(json).expect("a packet");
        check(&packet, 64).map(|(names, _)| names.len())
    }

    #[test]
    fn packets_of_all_sdks_are_read() {
        for (json, receivers) in [
            (
                r#"{"tunnelIds":["a","b"],"type":"message","content":"{}"}"#,
                2,
            ),
            (r#"{"tunnelIds":[],"type":"message","content":"{}"}"#, 0),
            (r#"{"tunnelIds":["a"],"type":"close"}"#, 1),
            (r#"{"tunnelIds":{"0":"a","2":"b"},"type":"close"}"#, 2),
            (
                r#"{"tunnelIds":[null,"a"],"type":"message","content":"\ufeff{}"}"#,
                1,
            ),
            (r#"{"tunnelIds":["a"],"type":"close","content":null}"#, 1),
            (
                r#"{"content":"x","extra":1,"tunnelIds":["\u0061"],"type":"later"}"#,
                1,
            ),
        ] {
            assert_eq!(checked(json), Ok(receivers), "{json}");
        }
    }

    #[test]
    fn what_would_upset_a_phone_is_not_pushed() {
        let content = |text: &str| {
            checked(&json!({"tunnelIds": ["a"], "type": "message", "content": text}).to_string())
        };
        for bad in ["", "null", "[]", "hello", "{"] {
            assert_eq!(content(bad), Err(PushError::Content), "{bad}");
        }
        let long = content(&json!({ "a": "x".repeat(64) }).to_string());
        assert!(matches!(long, Err(PushError::TooLong { most: 64, .. })));
        assert_eq!(
            checked(r#"{"type":"close"}"#),
            Err(PushError::Missing("tunnelIds"))
        );
        assert_eq!(
            checked(r#"{"tunnelIds":[]}"#),
            Err(PushError::Missing("type"))
        );
        assert_eq!(
            checked(r#"{"tunnelIds":[],"type":"message"}"#),
            Err(PushError::Missing("content"))
        );
    }
}
