//! Feeds TLS records to rustls and keeps what rustls wants sent.

use std::io;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

/// What a pass over received records came to.
pub(crate) enum RecordPass {
    /// The handshake needs more from the client.
    Waiting,
    /// Application data may flow.
    Open,
}

/// Feeds received records to rustls until it wants more or is ready to write.
pub(crate) fn take_records(
    conn: &mut UnbufferedServerConnection,
    input: &mut [u8],
    used: &mut usize,
    outbox: &mut Vec<u8>,
    peer_closed: &mut bool,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<RecordPass> {
    loop {
        let rest = input.get_mut(*used..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = conn.process_tls_records(rest);
        let end = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    sink(record.payload);
                }
                None
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(outbox, |room| data.encode(room))?;
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::BlockedHandshake) => Some(RecordPass::Waiting),
            Ok(ConnectionState::WriteTraffic(_)) => Some(RecordPass::Open),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                *peer_closed = true;
                Some(RecordPass::Open)
            }
            Ok(_) => return Err(invalid("early data, which is never offered")),
            Err(error) => {
                let told = encode_alerts(conn, rest, outbox);
                return told.and(Err(invalid(error)));
            }
        };
        *used += discard;
        if let Some(pass) = end {
            return Ok(pass);
        }
    }
}

/// After a failure: encodes the alert that tells the client. rustls must not be asked again
/// once the alert is out: it would look at the same bad bytes once more.
fn encode_alerts(
    conn: &mut UnbufferedServerConnection,
    rest: &mut [u8],
    outbox: &mut Vec<u8>,
) -> io::Result<()> {
    while conn.wants_write() {
        let UnbufferedStatus { state, .. } = conn.process_tls_records(rest);
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(outbox, |room| data.encode(room))?;
            }
            _ => break,
        }
    }
    Ok(())
}

/// Appends what `encode` writes, asking it how much room it needs.
fn append(
    outbox: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let at = outbox.len();
    let mut room = 1024;
    loop {
        outbox.resize(at + room, 0);
        match encode(outbox.get_mut(at..).unwrap_or_default()) {
            Ok(count) => {
                outbox.truncate(at + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(need)) if need.required_size > room => {
                room = need.required_size;
            }
            Err(error) => {
                outbox.truncate(at);
                return Err(invalid(error));
            }
        }
    }
}

pub(crate) fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}
