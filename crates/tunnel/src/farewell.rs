//! The last words on a connection: say them, hear the phone's, hang up.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::frame::{Decoder, Event};
use crate::outbox::Outbox;

/// Writes `out`, waits for the phone's close frame if it has not come (`wait`), and ends
/// the connection; all within `time`.
pub(crate) async fn say(io: Upgraded, out: Outbox, wait: bool, time: Duration) {
    let mut io = TokioIo::new(io);
    // Whether the phone heard it or time was up, the connection ends here.
    let _ended: Result<std::io::Result<()>, _> = tokio::time::timeout(time, async {
        for frame in out.into_frames() {
            io.write_all(&frame).await?;
        }
        io.flush().await?;
        if wait {
            hear_close(&mut io).await?;
        }
        io.shutdown().await
    })
    .await;
}

/// Reads until the phone closes too. Hanging up on unread bytes would reset the connection
/// and could take our close frame with it.
async fn hear_close(io: &mut TokioIo<Upgraded>) -> std::io::Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 2048];
    loop {
        let count = io.read(&mut buffer).await?;
        let mut rest = &mut buffer[..count];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            match decoder.step(rest, 1 << 20) {
                Ok(step) if matches!(step.event, Some(Event::Close(_))) => return Ok(()),
                Ok(step) => {
                    let used = step.used;
                    rest = &mut rest[used..];
                }
                // We may have begun in the middle of a frame.
                Err(_) => rest = &mut [],
            }
        }
    }
}
