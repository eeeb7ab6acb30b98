//! The end of a connection: our close frame, the phone's, and the end of the stream.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::frame::{FrameDecoder, FrameEvent};
use crate::outbox::FrameOutbox;

/// What may still come from the phone.
pub(crate) enum LastRead {
    /// Nothing: its close frame came first.
    Answered,
    /// Its close frame, read by this decoder, after these bytes that came already.
    Close(FrameDecoder, Box<[u8]>),
    /// Nobody can tell: it does not keep to the framing.
    Nonsense,
}

/// Writes `out`, waits for what may still come, and ends the connection; all within `time`.
pub(crate) async fn run(io: Upgraded, out: FrameOutbox, last: LastRead, time: Duration) {
    let mut io = TokioIo::new(io);
    // Whether the phone heard it or time was up, the connection ends here.
    let _ended: Result<std::io::Result<()>, _> = tokio::time::timeout(time, async {
        for frame in out.into_frames() {
            io.write_all(&frame).await?;
        }
        io.flush().await?;
        match last {
            LastRead::Answered => io.shutdown().await,
            LastRead::Close(decoder, held) => {
                read_close(&mut io, decoder, held).await?;
                io.shutdown().await
            }
            LastRead::Nonsense => {
                // The phone sees the end at once, whatever it says or waits for.
                io.shutdown().await?;
                read_to_end(&mut io).await
            }
        }
    })
    .await;
}

/// Reads until the phone closes too, or speaks no WebSocket any more. Hanging up on unread
/// bytes would reset the connection and could take our close frame with it.
async fn read_close(
    io: &mut TokioIo<Upgraded>,
    mut decoder: FrameDecoder,
    held: Box<[u8]>,
) -> std::io::Result<()> {
    let mut buffer = held.into_vec();
    let mut count = buffer.len();
    buffer.resize(count.max(2048), 0);
    loop {
        let mut rest = &mut buffer[..count];
        while !rest.is_empty() {
            match decoder.step(rest, 1 << 20) {
                Ok(step) if !matches!(step.event, Some(FrameEvent::Close(_))) => {
                    let used = step.used;
                    rest = &mut rest[used..];
                }
                Ok(_) => return Ok(()),
                Err(_) => {
                    io.shutdown().await?;
                    return read_to_end(io).await;
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
async fn read_to_end(io: &mut TokioIo<Upgraded>) -> std::io::Result<()> {
    let mut buffer = vec![0; 2048];
    while io.read(&mut buffer).await? > 0 {}
    Ok(())
}
