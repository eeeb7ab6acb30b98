//! WebSocket frames: read as the RFC says, however they are cut.

use std::borrow::Cow;

use super::feed::Feed;
use crate::frame::{self, FrameDecoder, FrameError, FrameEvent};

/// The longest message of these tests.
const MOST: usize = 300;

/// All events and the violation, read from bytes that are all there: RFC 6455 once more,
/// as plainly as possible.
fn plain_frames(mut bytes: &[u8]) -> (Vec<FrameEvent<'static>>, Option<FrameError>) {
    let mut events = Vec::new();
    let mut open: Option<(u8, Vec<u8>)> = None;
    loop {
        match plain_frame(&mut bytes, &mut open) {
            Ok(Some(event)) => events.extend(event),
            Ok(None) => return (events, None),
            Err(violation) => return (events, Some(violation)),
        }
    }
}

/// One frame: its event, `Some(None)` if it completes nothing, `None` if bytes are missing.
fn plain_frame(
    bytes: &mut &[u8],
    open: &mut Option<(u8, Vec<u8>)>,
) -> Result<Option<Option<FrameEvent<'static>>>, FrameError> {
    let protocol = Err(FrameError::Protocol(""));
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 15);
    if first & 0x70 != 0 || (3..8).contains(&opcode) || opcode > 10 {
        return protocol;
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    let control = opcode >= 8;
    if second < 0x80 || control && (!fin || second > 0x80 + 125) {
        return protocol;
    }
    let (len, mask_at) = match second & 0x7f {
        126 => (bytes.get(2..4), 4),
        127 => (bytes.get(2..10), 10),
        _ => (bytes.get(1..2), 2),
    };
    let Some(len) = len else {
        return Ok(None);
    };
    let mut wide = len
        .iter()
        .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if mask_at == 2 {
        wide &= 0x7f;
    }
    if wide >= 1 << 63 {
        return protocol;
    }
    let Some(mask) = bytes.get(mask_at..mask_at + 4) else {
        return Ok(None);
    };
    if !control {
        if (opcode == 0) != open.is_some() {
            return protocol;
        }
        let so_far = open.as_ref().map_or(0, |(_, message)| message.len());
        if wide > (MOST - so_far) as u64 {
            return Err(FrameError::TooBig);
        }
    }
    let start = mask_at + 4;
    let Some(payload) = bytes.get(start..start + wide as usize) else {
        return Ok(None);
    };
    let plain: Vec<u8> = (payload.iter().zip(mask.iter().cycle()))
        .map(|(byte, key)| byte ^ key)
        .collect();
    *bytes = &bytes[start + payload.len()..];
    if control {
        return plain_control(opcode, plain).map(|event| Some(Some(event)));
    }
    let (kind, mut message) = open.take().unwrap_or((opcode, Vec::new()));
    message.extend(plain);
    if !fin {
        *open = Some((kind, message));
        return Ok(Some(None));
    }
    if kind == 2 {
        return Ok(Some(Some(FrameEvent::Binary)));
    }
    let text = String::from_utf8(message).map_err(|_| FrameError::NotUtf8)?;
    Ok(Some(Some(FrameEvent::Text(Cow::Owned(text)))))
}

fn plain_control(opcode: u8, payload: Vec<u8>) -> Result<FrameEvent<'static>, FrameError> {
    match (opcode, payload.as_slice()) {
        (9, _) => Ok(FrameEvent::Ping(Cow::Owned(payload))),
        (10, _) => Ok(FrameEvent::Pong),
        (_, []) => Ok(FrameEvent::Close(None)),
        (_, [_]) => Err(FrameError::Protocol("")),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from(*high) * 256 + u16::from(*low);
            let registered = [
                1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
            ];
            if !registered.contains(&code) && !(3000..5000).contains(&code) {
                return Err(FrameError::Protocol(""));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(FrameError::NotUtf8);
            }
            Ok(FrameEvent::Close(Some(code)))
        }
    }
}

fn kept(event: FrameEvent<'_>) -> FrameEvent<'static> {
    match event {
        FrameEvent::Text(text) => FrameEvent::Text(Cow::Owned(text.into_owned())),
        FrameEvent::Ping(payload) => FrameEvent::Ping(Cow::Owned(payload.into_owned())),
        FrameEvent::Binary => FrameEvent::Binary,
        FrameEvent::Pong => FrameEvent::Pong,
        FrameEvent::Close(code) => FrameEvent::Close(code),
    }
}

/// The room's decoder, fed in pieces as long as `cuts` says.
fn in_pieces(bytes: &[u8], cuts: &[u8]) -> (Vec<FrameEvent<'static>>, Option<FrameError>) {
    let mut decoder = FrameDecoder::default();
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut turn = 0;
    while !rest.is_empty() {
        let cut = cuts
            .get(turn % cuts.len().max(1))
            .map_or(rest.len(), |cut| usize::from(*cut) + 1);
        turn += 1;
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let mut piece = piece.to_vec();
        let mut left = &mut piece[..];
        while !left.is_empty() {
            let most = left.len();
            match decoder.step(left, MOST) {
                Ok(step) => {
                    assert!(step.used > 0 && step.used <= most);
                    events.extend(step.event.map(kept));
                    let used = step.used;
                    left = &mut left[used..];
                }
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

/// Frames: however they are cut, they are read as the RFC says; and what the room writes
/// itself can be read.
pub(super) fn frames(data: &[u8]) {
    let mut feed = Feed::new(data);
    let way = feed.below(3);
    let cuts = feed.field();
    let mut bytes = Vec::new();
    if way == 0 {
        bytes.extend_from_slice(feed.rest());
    } else {
        // Frames whose heads are in order, so that what is within them counts.
        while !feed.is_empty() && bytes.len() < 4096 {
            let first = [0x81, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0x82, 0x02][feed.below(9)];
            let wide = feed.below(3);
            let payload = feed.field();
            let payload = if payload.starts_with(b"*") {
                [b'x'; 290].as_slice()
            } else {
                payload
            };
            bytes.push(first);
            match (wide, payload.len()) {
                (0, len @ 0..126) => bytes.push(0x80 | len as u8),
                (0 | 1, len) => {
                    bytes.push(0xFE);
                    bytes.extend((len as u16).to_be_bytes());
                }
                (_, len) => {
                    bytes.push(0xFF);
                    bytes.extend((len as u64).to_be_bytes());
                }
            }
            let mask = [1, 2, 3, payload.len() as u8];
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        }
        if way == 2 && bytes.len() > 1 {
            bytes.truncate(bytes.len() - 1);
        }
    }
    let (events, violation) = plain_frames(&bytes);
    for cuts in [&[][..], cuts, &[0]] {
        let (found, broken) = in_pieces(&bytes, cuts);
        assert_eq!(found, events, "{cuts:?}");
        assert_eq!(
            broken.map(FrameError::code),
            violation.map(FrameError::code),
            "{cuts:?}"
        );
    }
    for event in &events {
        written(event);
    }
}

/// What goes to phones: one unmasked frame each, no longer than a control frame may be.
fn written(event: &FrameEvent<'_>) {
    let (frame, payload) = match event {
        FrameEvent::Text(text) => (
            frame::text(b"message:", text.as_bytes()),
            format!("message:{text}").into_bytes(),
        ),
        FrameEvent::Ping(payload) => (frame::pong(payload), payload.to_vec()),
        FrameEvent::Close(Some(code)) => {
            let reason = "r".repeat(usize::from(*code % 200));
            let frame = frame::close(*code, &reason);
            assert!(frame.len() <= 127);
            let kept = reason.len().min(123);
            (
                frame,
                [&code.to_be_bytes(), &reason.as_bytes()[..kept]].concat(),
            )
        }
        _ => return,
    };
    let head = frame.len() - payload.len();
    assert_eq!(frame[head..], payload);
    let told = match frame[1] {
        126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])),
        127 => usize::MAX,
        len => usize::from(len),
    };
    assert_eq!((told, frame[0] & 0xF0), (payload.len(), 0x80));
}
