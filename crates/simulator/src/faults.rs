//! Faults on demand: what a bad day of WeChat looks like.

use serde::{Deserialize, Serialize};

/// The longest delay that can be asked for.
pub const MAX_LATENCY_MS: u64 = 60_000;

/// How WeChat's side misbehaves, as `POST /faults` sets it. `{}` heals everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSettings {
    /// How long every answer waits, in milliseconds, at most a minute.
    pub latency_ms: u64,
    /// What goes wrong, if anything.
    pub fault: Option<SimulatedFault>,
    /// With how many answers it goes wrong before all is well again. One, unless said.
    #[serde(default = "once")]
    pub next: u32,
    /// The path it goes wrong with, and the only one that waits; every path, unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimulatedFault {
    /// WeChat answers this errcode and does nothing: `{"errcode": -1}`.
    Errcode(i64),
    /// WeChat does the work, but the connection is cut before the answer.
    Reset,
    /// WeChat does the work, but the connection is cut in the middle of the answer.
    Half,
    /// WeChat does the work, but something on the way answers a page instead.
    WrongJson,
}

fn once() -> u32 {
    1
}

impl FaultSettings {
    /// `fault` with the next answer only.
    pub fn once(fault: SimulatedFault) -> Self {
        Self {
            latency_ms: 0,
            fault: Some(fault),
            next: once(),
            path: None,
        }
    }

    /// The delay and the fault of the answer to `path` that comes now; counts it.
    pub(crate) fn take(&mut self, path: &str) -> (u64, Option<SimulatedFault>) {
        if self.path.as_ref().is_some_and(|only| only != path) {
            return (0, None);
        }
        let latency = self.latency_ms.min(MAX_LATENCY_MS);
        let Some(left) = self.next.checked_sub(1) else {
            return (latency, None);
        };
        let fault = self.fault;
        if fault.is_some() {
            self.next = left;
        }
        (latency, fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> FaultSettings {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn a_fault_strikes_as_often_as_asked() {
        let mut faults = read(r#"{"latency_ms":5,"fault":{"errcode":-1},"next":2}"#);
        assert_eq!(faults.take("/a"), (5, Some(SimulatedFault::Errcode(-1))));
        assert_eq!(faults.take("/a"), (5, Some(SimulatedFault::Errcode(-1))));
        assert_eq!(faults.take("/a"), (5, None));
    }

    #[test]
    fn a_fault_strikes_once_unless_said() {
        let mut faults = read(r#"{"fault":"reset"}"#);
        assert_eq!(faults.take("/a"), (0, Some(SimulatedFault::Reset)));
        assert_eq!(faults.take("/a"), (0, None));
    }

    #[test]
    fn a_fault_can_be_one_paths() {
        let mut faults = read(r#"{"fault":"half","path":"/b","latency_ms":1}"#);
        assert_eq!(faults.take("/a"), (0, None));
        assert_eq!(faults.take("/b"), (1, Some(SimulatedFault::Half)));
    }

    #[test]
    fn nothing_is_health_and_a_day_is_a_minute() {
        assert_eq!(read("{}").take("/a"), (0, None));
        assert_eq!(
            read(r#"{"latency_ms":86400000}"#).take("/a"),
            (60_000, None)
        );
        assert!(serde_json::from_str::<FaultSettings>(r#"{"falt":"reset"}"#).is_err());
    }
}
