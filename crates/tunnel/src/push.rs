//! Pushing packets to many tunnels: the frame is made once and shared by all receivers.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::bell::Wakes;
use crate::business::Business;
use crate::hub::add;
use crate::id::TunnelId;
use crate::list::List;
use crate::packet;
use crate::socket::to_phone;
use crate::tunnel::{Goodbye, Offer};
use crate::tunnels::Tunnels;

/// How many tunnels are served before others may use the thread.
const TURN: usize = 1024;

/// A packet as a business server sends it.
#[derive(Debug, Deserialize)]
pub(crate) struct Packet<'a> {
    #[serde(rename = "tunnelIds", borrow)]
    tunnel_ids: Option<List<Name<'a>>>,
    r#type: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
}

impl Packet<'_> {
    /// What goes to phones: without a byte order mark, which no phone's JSON has.
    fn content(&self) -> Option<&str> {
        let content = self.content.as_deref()?;
        Some(content.strip_prefix('\u{feff}').unwrap_or(content))
    }
}

/// A tunnelId as it came, lent if it needed no unescaping.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Why nothing was pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotPushed {
    /// A field is missing.
    Missing(&'static str),
    /// The content would upset the phone.
    Content,
    /// The content is longer than may wait for a phone.
    TooLong { bytes: usize, most: usize },
}

/// Which tunnels did not get a packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Certainly dead: the business server may forget them.
    pub(crate) invalid: Vec<String>,
    /// Perhaps alive, but this packet did not reach them.
    pub(crate) undelivered: Vec<String>,
}

/// What a packet does, checked.
enum Deed {
    Deliver { frame: Bytes, content: String },
    Close,
    Nothing,
}

/// Pushes all packets, in order, or none if one is wrong.
pub(crate) async fn push(
    tunnels: &Tunnels,
    business: &Business,
    packets: &[Packet<'_>],
) -> Result<Missed, NotPushed> {
    let most = tunnels.config().max_queue_bytes;
    let mut deeds = Vec::with_capacity(packets.len());
    for packet in packets {
        deeds.push(check(packet, most)?);
    }
    let mut missed = Missed::default();
    let mut round = Round {
        tunnels,
        business,
        wakes: Wakes::default(),
        served: 0,
        delivered: 0,
    };
    for (names, deed) in &deeds {
        let mut seen = HashSet::with_capacity(if names.len() > 1 { names.len() } else { 0 });
        for Name(name) in *names {
            if round.served % TURN == TURN - 1 {
                round.wakes.ring();
                tokio::task::yield_now().await;
            }
            round.served += 1;
            let id = TunnelId::parse(name);
            // The same id twice in a packet is one receiver.
            if names.len() > 1 && id.is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            match round.one(id, deed) {
                Reached::Yes => {}
                Reached::Never => missed.invalid.push(name.clone().into_owned()),
                Reached::NotNow => missed.undelivered.push(name.clone().into_owned()),
            }
        }
    }
    let counts = &tunnels.hub().counts;
    add(&counts.pushes, packets.len() as u64);
    add(&counts.deliveries, round.delivered);
    add(&counts.undelivered, missed.undelivered.len() as u64);
    Ok(missed)
}

/// Reads a packet's receivers and deed.
fn check<'p, 'a>(packet: &'p Packet<'a>, most: usize) -> Result<(&'p [Name<'a>], Deed), NotPushed> {
    let names = packet
        .tunnel_ids
        .as_ref()
        .map(|List(names)| names.as_slice())
        .ok_or(NotPushed::Missing("tunnelIds"))?;
    let deed = match packet.r#type.as_deref() {
        None => return Err(NotPushed::Missing("type")),
        Some("message") => {
            let content = packet.content().ok_or(NotPushed::Missing("content"))?;
            if !packet::is_message_content(content) {
                return Err(NotPushed::Content);
            }
            let frame = packet::message(content);
            if frame.len() > most {
                return Err(NotPushed::TooLong {
                    bytes: frame.len(),
                    most,
                });
            }
            Deed::Deliver {
                frame,
                content: content.to_owned(),
            }
        }
        Some("close") => Deed::Close,
        Some(_) => Deed::Nothing,
    };
    Ok((names, deed))
}

/// Whether one tunnel got it.
enum Reached {
    Yes,
    Never,
    NotNow,
}

/// One push under way.
struct Round<'a> {
    tunnels: &'a Tunnels,
    business: &'a Business,
    wakes: Wakes,
    served: usize,
    delivered: u64,
}

impl Round<'_> {
    fn one(&mut self, id: Option<TunnelId>, deed: &Deed) -> Reached {
        let Some(id) = id else {
            return Reached::Never;
        };
        let hub = self.tunnels.hub();
        if !hub.is_ours(id) {
            return Reached::NotNow;
        }
        match deed {
            Deed::Nothing => Reached::Yes,
            Deed::Deliver { frame, content } => self.deliver(id, frame, content),
            Deed::Close => {
                let tunnel = hub.find(id).filter(|tunnel| {
                    // Another business's tunnel is no tunnel.
                    std::ptr::eq(&raw const *tunnel.route.business, self.business)
                });
                let closed = tunnel.is_some_and(|tunnel| {
                    self.tunnels
                        .close(&tunnel, None, Some(Goodbye::Asked), &mut self.wakes)
                });
                if closed { Reached::Yes } else { Reached::Never }
            }
        }
    }

    fn deliver(&mut self, id: TunnelId, frame: &Bytes, content: &str) -> Reached {
        let most = self.tunnels.limits().queue;
        let (business, wakes) = (self.business, &mut self.wakes);
        let offer = self.tunnels.hub().with(id, |tunnel| {
            if std::ptr::eq(&raw const *tunnel.route.business, business) {
                tunnel.offer(frame, most, wakes)
            } else {
                Offer::Dead
            }
        });
        match offer {
            Some(Offer::Taken) => {
                self.delivered += 1;
                self.tunnels.tap().record(|| {
                    to_phone(
                        id,
                        "message",
                        json!({ "packet": format!("message:{content}") }),
                    )
                });
                Reached::Yes
            }
            Some(Offer::Full) => Reached::NotNow,
            Some(Offer::Slow) => {
                if let Some(tunnel) = self.tunnels.hub().find(id) {
                    self.tunnels
                        .close(&tunnel, None, Some(Goodbye::Slow), &mut self.wakes);
                }
                Reached::Never
            }
            Some(Offer::Dead) | None => Reached::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<usize, NotPushed> {
        let packet: Packet<'_> = serde_json::from_str(json).expect("a packet");
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
            assert_eq!(content(bad), Err(NotPushed::Content), "{bad}");
        }
        let long = content(&json!({ "a": "x".repeat(64) }).to_string());
        assert!(matches!(long, Err(NotPushed::TooLong { most: 64, .. })));
        assert_eq!(
            checked(r#"{"type":"close"}"#),
            Err(NotPushed::Missing("tunnelIds"))
        );
        assert_eq!(
            checked(r#"{"tunnelIds":[]}"#),
            Err(NotPushed::Missing("type"))
        );
        assert_eq!(
            checked(r#"{"tunnelIds":[],"type":"message"}"#),
            Err(NotPushed::Missing("content"))
        );
    }
}
