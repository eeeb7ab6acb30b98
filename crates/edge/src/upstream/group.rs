//! The business servers of a route, taken in turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::upstream::address::UpstreamAddr;
use crate::upstream::health::UpstreamHealth;

/// Business servers taken in turn.
#[derive(Debug)]
pub(crate) struct UpstreamGroup {
    list: Vec<UpstreamAddr>,
    next: AtomicUsize,
}

impl UpstreamGroup {
    /// The servers as a request should ask them.
    pub(crate) fn in_order(&self, health: &UpstreamHealth) -> impl Iterator<Item = &UpstreamAddr> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let order = health.order(&self.list, start, Instant::now);
        (0..self.list.len()).filter_map(move |turn| {
            let at = match &order {
                Some(order) => *order.get(turn)?,
                None => start.wrapping_add(turn) % self.list.len(),
            };
            self.list.get(at)
        })
    }

    /// Whether there is another one to ask.
    pub(crate) fn is_several(&self) -> bool {
        self.list.len() > 1
    }

    /// Reads `address:port` and `host:port`.
    pub(crate) fn parse(list: &[String]) -> Result<Self, String> {
        if list.is_empty() {
            return Err("the list of business servers is empty".to_owned());
        }
        let list = list.iter().map(|text| {
            if let Ok(addr) = text.parse::<SocketAddr>() {
                return Ok(UpstreamAddr::Addr(addr));
            }
            let named = |(host, port): (&str, &str)| {
                !host.is_empty() && !host.contains(['/', ':', '@']) && port.parse::<u16>().is_ok()
            };
            if text.rsplit_once(':').is_some_and(named) {
                Ok(UpstreamAddr::Name(text.as_str().into()))
            } else {
                Err(format!("{text:?} is not address:port or host:port"))
            }
        });
        Ok(Self {
            list: list.collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::health::UpstreamFailure;

    #[test]
    fn all_are_asked_in_turn_while_none_fails() {
        let health = UpstreamHealth::new(Duration::from_secs(10));
        let list = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let group = UpstreamGroup::parse(&list).expect("addresses");
        for order in ["a:1 b:1 c:1", "b:1 c:1 a:1", "c:1 a:1 b:1", "a:1 b:1 c:1"] {
            let asked: Vec<_> = group.in_order(&health).map(ToString::to_string).collect();
            assert_eq!(asked.join(" "), order);
        }
    }

    #[test]
    fn who_failed_is_asked_last() {
        let health = UpstreamHealth::new(Duration::from_secs(10));
        let group = UpstreamGroup::parse(&["a:1", "b:1"].map(str::to_owned)).expect("addresses");
        health.failed(&group.list[0], UpstreamFailure::Unreached, Instant::now());
        for _ in 0..3 {
            let asked: Vec<_> = group.in_order(&health).map(ToString::to_string).collect();
            assert_eq!(asked.join(" "), "b:1 a:1");
        }
    }

    #[test]
    fn addresses_are_read_and_mistakes_told() {
        let good = ["127.0.0.1:80", "[::1]:80", "app.internal:3000"].map(str::to_owned);
        assert_eq!(UpstreamGroup::parse(&good).map(|r| r.list.len()), Ok(3));
        for bad in ["", "app", "http://app:80", "app:port", "a:1:2", ":80"] {
            assert!(UpstreamGroup::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(UpstreamGroup::parse(&[]).is_err());
    }
}
