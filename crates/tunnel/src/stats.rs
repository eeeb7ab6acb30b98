//! What the room tells of itself: a tunnel it issued, tunnels for the operator, counts.

use serde::Serialize;

/// A tunnel that waits for its phone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedTunnel {
    /// What the business server calls it.
    pub tunnel_id: String,
    /// What the phone opens, once and soon. Whoever has it is that phone.
    pub connect_url: String,
}

/// What the operator sees of one tunnel.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelView {
    /// Its tunnelId.
    pub tunnel_id: String,
    /// The host of its business server.
    pub business: String,
    /// `issued` or `open`.
    pub state: &'static str,
    /// Seconds since its phone was heard, or since it was issued.
    pub silent_secs: u32,
    /// Bytes waiting for the phone.
    pub queued_bytes: usize,
    /// Callbacks waiting for the business server.
    pub waiting_callbacks: usize,
}

/// What the room did since the start, and holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TunnelStats {
    /// Tunnels issued or open now.
    pub tunnels: u64,
    /// Tunnels issued.
    pub issued: u64,
    /// Tunnels a phone opened.
    pub opened: u64,
    /// Opened tunnels that closed.
    pub closed: u64,
    /// Issued tunnels no phone opened in time.
    pub expired: u64,
    /// Closed because the phone did not read.
    pub closed_slow: u64,
    /// Closed because the phone fell silent.
    pub closed_silent: u64,
    /// Closed because the phone broke the WebSocket rules.
    pub violations: u64,
    /// Messages phones sent.
    pub messages: u64,
    /// Packets business servers pushed.
    pub pushes: u64,
    /// Deliveries those packets made.
    pub deliveries: u64,
    /// Deliveries that could not be made to tunnels that live.
    pub undelivered: u64,
    /// Callbacks tried.
    pub callbacks: u64,
    /// Of these, tried again.
    pub callback_retries: u64,
    /// Callbacks given up.
    pub callback_failures: u64,
    /// How the business servers take their callbacks.
    pub businesses: Vec<BusinessStats>,
}

/// How a business server takes its callbacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BusinessStats {
    /// Its host.
    pub host: String,
    /// Callbacks that failed and wait to go again.
    pub waiting: u64,
    /// Callbacks tried again since the start.
    pub retries: u64,
    /// Callbacks given up since the start.
    pub given_up: u64,
    /// What went wrong last, while it does not take its callbacks.
    pub trouble: Option<String>,
}
