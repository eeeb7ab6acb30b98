//! The last words on a connection: say them, hear the phone's, hang up.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::frame::{Decoder, Event};
use crate::outbox::Outbox;

/// What may still come from the phone.
pub(crate) enum Last {
    /// Nothing: its close frame came first.
    Answered,
    /// Its close frame, read by this decoder, after these bytes that came already.
    Close(Decoder, Box<[u8]>),
    /// Nobody can tell: it does not keep to the framing.
    Nonsense,
}

/// Writes `out`, waits for what may still come, and ends the connection; all within `time`.
pub(crate) async fn say(io: Upgraded, out: Outbox, last: Last, time: Duration) {
    let mut io = TokioIo::new(io);
    // Whether the phone heard it or time was up, the connection ends here.
    let _ended: Result<std::io::Result<()>, _> = tokio::time::timeout(time, async {
        for frame in out.into_frames() {
            io.write_all(&frame).await?;
        }
        io.flush().await?;
        match last {
            Last::Answered => io.shutdown().await,
            Last::Close(decoder, held) => {
                hear_close(&mut io, decoder, held).await?;
                io.shutdown().await
            }
            Last::Nonsense => {
                // The phone sees the end at once, whatever it says or waits for.
                io.shutdown().await?;
                hear_end(&mut io).await
            }
        }
    })
    .await;
}

/// Reads until the phone closes too, or speaks no WebSocket any more. Hanging up on unread
/// bytes would reset the connection and could take our close frame with it.
async fn hear_close(
    io: &mut TokioIo<Upgraded>,
    mut decoder: Decoder,
    held: Box<[u8]>,
) -> std::io::Result<()> {
    let mut buffer = held.into_vec();
    let mut count = buffer.len();
    buffer.resize(count.max(2048), 0);
    loop {
        let mut rest = &mut buffer[..count];
        while !rest.is_empty() {
            match decoder.step(rest, 1 << 20) {
                Ok(step) if !matches!(step.event, Some(Event::Close(_))) => {
                    let used = step.used;
                    rest = &mut rest[used..];
                }
                Ok(_) => return Ok(()),
                Err(_) => {
                    io.shutdown().await?;
                    return hear_end(io).await;
                }
            }
        }
        count = io.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
    }
}

/// Reads until the phone hangs up, for the same reason.
async fn hear_end(io: &mut TokioIo<Upgraded>) -> std::io::Result<()> {
    let mut buffer = vec![0; 2048];
    while io.read(&mut buffer).await? > 0 {}
    Ok(())
}
