//! WebSocket framing (RFC 6455), server side only, without any IO.
//!
//! [`FrameDecoder`] is fed whatever bytes came and gives events. While nothing is half read it
//! owns one null pointer and no buffer; a frame that came whole is unmasked in place and
//! lent, not copied. Frames to phones are plain [`Bytes`], unmasked and therefore the same
//! for every receiver.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};

/// Close codes of RFC 6455 section 7.4.1 and its registry.
pub(crate) mod code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const UNSUPPORTED: u16 = 1003;
    pub(crate) const NOT_UTF8: u16 = 1007;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const TRY_AGAIN: u16 = 1013;
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Most bytes of a client's frame header: two, eight of length, four of mask.
const MAX_HEADER: usize = 14;
/// Most bytes a control frame may carry.
const MAX_CONTROL: usize = 125;

/// What a phone sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameEvent<'a> {
    /// A whole text message, known to be UTF-8.
    Text(Cow<'a, str>),
    /// A whole binary message; tunnels know none.
    Binary,
    /// Wants the same payload back.
    Ping(Cow<'a, [u8]>),
    /// Wants nothing.
    Pong,
    /// The phone closes, with this code if it gave one.
    Close(Option<u16>),
}

/// The phone broke the rules; the connection ends with [`FrameError::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A header no client may send, an unmasked frame, fragments out of order.
    Protocol(&'static str),
    /// Text that is not UTF-8.
    NotUtf8,
    /// A message longer than allowed. Known from its header, before it is read.
    TooBig,
}

impl FrameError {
    /// The close code that says so.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => code::PROTOCOL,
            Self::NotUtf8 => code::NOT_UTF8,
            Self::TooBig => code::TOO_BIG,
        }
    }

    /// The reason that says so.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Protocol(reason) => reason,
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooBig => "message too big",
        }
    }
}

/// How far one step came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DecodeStep<'a> {
    /// How many bytes of the input are done with.
    pub(crate) used: usize,
    /// What they completed, if anything.
    pub(crate) event: Option<FrameEvent<'a>>,
}

/// Reads frames from bytes that come in any pieces.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    /// Only while something is half read.
    half: Option<Box<PartialFrame>>,
}

/// What is half read.
#[derive(Debug, Default)]
struct PartialFrame {
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// The frame whose payload is being read.
    head: Option<FrameHead>,
    /// How much of its payload has come.
    got: u64,
    /// The payload of a half-read control frame; data goes to `message`.
    control: Vec<u8>,
    /// The data message so far, over all its fragments.
    message: Vec<u8>,
    /// Text or binary, if a message is under way.
    under_way: Option<u8>,
}

impl PartialFrame {
    /// Whether nothing is half read any more.
    fn is_done(&self) -> bool {
        self.header_len == 0 && self.head.is_none() && self.under_way.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
struct FrameHead {
    fin: bool,
    opcode: u8,
    len: u64,
    mask: [u8; 4],
}

impl FrameHead {
    fn is_control(self) -> bool {
        self.opcode >= CLOSE
    }
}

impl FrameDecoder {
    /// Whether nothing is half read, and so nothing is held.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.half.is_none()
    }

    /// Reads on until something is complete or `input` is used up. Call again with the rest
    /// while `used` is less than all. `most` bounds a message.
    pub(crate) fn step<'a>(
        &mut self,
        input: &'a mut [u8],
        most: usize,
    ) -> Result<DecodeStep<'a>, FrameError> {
        let Some(half) = &mut self.half else {
            return self.step_fresh(input, most);
        };
        let total = input.len();
        let mut rest = &mut input[..];
        if half.head.is_none() {
            let before = usize::from(half.header_len);
            let add = rest.len().min(MAX_HEADER - before);
            half.header[before..before + add].copy_from_slice(&rest[..add]);
            let Some((head, header_len)) = parse_head(&half.header[..before + add])? else {
                half.header_len = u8::try_from(before + add).unwrap_or(0);
                return Ok(DecodeStep {
                    used: add,
                    event: None,
                });
            };
            admit(head, half.under_way, half.message.len(), most)?;
            half.header_len = 0;
            half.head = Some(head);
            half.got = 0;
            rest = &mut rest[header_len - before..];
        }
        let used_before = total - rest.len();
        let (used, event) = half.payload(rest)?;
        if half.is_done() {
            self.half = None;
        }
        Ok(DecodeStep {
            used: used_before + used,
            event,
        })
    }

    /// The step when nothing is half read.
    fn step_fresh<'a>(
        &mut self,
        input: &'a mut [u8],
        most: usize,
    ) -> Result<DecodeStep<'a>, FrameError> {
        let Some((head, header_len)) = parse_head(input)? else {
            if !input.is_empty() {
                let mut half = Box::<PartialFrame>::default();
                half.header[..input.len()].copy_from_slice(input);
                half.header_len = u8::try_from(input.len()).unwrap_or(0);
                self.half = Some(half);
            }
            return Ok(DecodeStep {
                used: input.len(),
                event: None,
            });
        };
        admit(head, None, 0, most)?;
        let whole = usize::try_from(head.len)
            .ok()
            .and_then(|len| len.checked_add(header_len))
            .filter(|whole| *whole <= input.len());
        if let Some(whole) = whole
            && (head.fin || head.is_control())
        {
            let payload = &mut input[header_len..whole];
            unmask(payload, head.mask, 0);
            let event = complete(head.opcode, Cow::Borrowed(&*payload))?;
            return Ok(DecodeStep {
                used: whole,
                event: Some(event),
            });
        }
        let mut half = Box::new(PartialFrame {
            head: Some(head),
            ..PartialFrame::default()
        });
        let (used, event) = half.payload(&mut input[header_len..])?;
        self.half = (!half.is_done()).then_some(half);
        Ok(DecodeStep {
            used: header_len + used,
            event,
        })
    }
}

impl PartialFrame {
    /// Takes what of `input` belongs to the frame being read.
    fn payload(
        &mut self,
        input: &mut [u8],
    ) -> Result<(usize, Option<FrameEvent<'static>>), FrameError> {
        let Some(head) = self.head else {
            return Ok((0, None));
        };
        let missing = usize::try_from(head.len - self.got).unwrap_or(usize::MAX);
        let used = missing.min(input.len());
        let piece = &mut input[..used];
        unmask(piece, head.mask, self.got);
        if head.is_control() {
            self.control.extend_from_slice(piece);
        } else {
            self.message.extend_from_slice(piece);
        }
        self.got += used as u64;
        if used < missing {
            if !head.is_control() && head.opcode != CONTINUATION {
                self.under_way = Some(head.opcode);
            }
            return Ok((used, None));
        }
        self.head = None;
        if head.is_control() {
            let payload = std::mem::take(&mut self.control);
            return Ok((used, Some(complete(head.opcode, Cow::Owned(payload))?)));
        }
        if head.opcode != CONTINUATION {
            self.under_way = Some(head.opcode);
        }
        if !head.fin {
            return Ok((used, None));
        }
        let opcode = self.under_way.take().unwrap_or(TEXT);
        let message = std::mem::take(&mut self.message);
        Ok((used, Some(complete(opcode, Cow::Owned(message))?)))
    }
}

/// Reads a header; `None` if more bytes are needed.
fn parse_head(bytes: &[u8]) -> Result<Option<(FrameHead, usize)>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else {
        return match bytes {
            [first] => check_first(*first).map(|()| None),
            _ => Ok(None),
        };
    };
    check_first(first)?;
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    if second & 0x80 == 0 {
        return Err(FrameError::Protocol("client frames must be masked"));
    }
    let short = second & 0x7f;
    if opcode >= CLOSE && (!fin || usize::from(short) > MAX_CONTROL) {
        return Err(FrameError::Protocol("control frame fragmented or too long"));
    }
    let (len, len_bytes) = match short {
        126 => {
            let Some(&len) = rest.first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(len)), 2)
        }
        127 => {
            let Some(&len) = rest.first_chunk::<8>() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(len);
            if len >> 63 != 0 {
                return Err(FrameError::Protocol("length out of range"));
            }
            (len, 8)
        }
        short => (u64::from(short), 0),
    };
    let Some(&mask) = rest[len_bytes..].first_chunk::<4>() else {
        return Ok(None);
    };
    let head = FrameHead {
        fin,
        opcode,
        len,
        mask,
    };
    Ok(Some((head, 2 + len_bytes + 4)))
}

/// What the first byte alone can break.
fn check_first(first: u8) -> Result<(), FrameError> {
    if first & 0x70 != 0 {
        return Err(FrameError::Protocol("reserved bits set"));
    }
    match first & 0x0f {
        CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(()),
        _ => Err(FrameError::Protocol("unknown opcode")),
    }
}

/// Whether this frame may come now and fits.
fn admit(
    head: FrameHead,
    under_way: Option<u8>,
    so_far: usize,
    most: usize,
) -> Result<(), FrameError> {
    if head.is_control() {
        return Ok(());
    }
    match (head.opcode, under_way) {
        (CONTINUATION, None) => return Err(FrameError::Protocol("nothing to continue")),
        (CONTINUATION, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(FrameError::Protocol("message within a message")),
    }
    let room = most.saturating_sub(so_far) as u64;
    if head.len > room {
        return Err(FrameError::TooBig);
    }
    Ok(())
}

/// Makes the event of a whole message or control frame.
fn complete(opcode: u8, payload: Cow<'_, [u8]>) -> Result<FrameEvent<'_>, FrameError> {
    match opcode {
        TEXT => {
            let text = match payload {
                Cow::Borrowed(bytes) => simdutf8::basic::from_utf8(bytes)
                    .map(Cow::Borrowed)
                    .map_err(|_| FrameError::NotUtf8)?,
                Cow::Owned(bytes) => {
                    if simdutf8::basic::from_utf8(&bytes).is_err() {
                        return Err(FrameError::NotUtf8);
                    }
                    Cow::Owned(String::from_utf8(bytes).map_err(|_| FrameError::NotUtf8)?)
                }
            };
            Ok(FrameEvent::Text(text))
        }
        PING => Ok(FrameEvent::Ping(payload)),
        PONG => Ok(FrameEvent::Pong),
        CLOSE => close_code(&payload).map(FrameEvent::Close),
        _ => Ok(FrameEvent::Binary),
    }
}

/// Reads a close frame's payload.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload {
        [] => Ok(None),
        [_] => Err(FrameError::Protocol("half a close code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(FrameError::Protocol("close code out of range"));
            }
            if simdutf8::basic::from_utf8(reason).is_err() {
                return Err(FrameError::NotUtf8);
            }
            Ok(Some(code))
        }
    }
}

/// Takes the mask off `bytes`, which begin `at` bytes into the payload.
fn unmask(bytes: &mut [u8], mask: [u8; 4], at: u64) {
    let turn = (at % 4) as usize;
    let key = [
        mask[turn],
        mask[(turn + 1) % 4],
        mask[(turn + 2) % 4],
        mask[(turn + 3) % 4],
    ];
    let wide = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// A text frame holding `head` and then `tail`.
pub(crate) fn text(head: &[u8], tail: &[u8]) -> Bytes {
    let mut frame = begin(TEXT, head.len() + tail.len());
    frame.put_slice(head);
    frame.put_slice(tail);
    frame.freeze()
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mut frame = begin(PONG, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// A close frame; the reason must be short.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let reason = &reason.as_bytes()[..reason.len().min(MAX_CONTROL - 2)];
    let mut frame = begin(CLOSE, 2 + reason.len());
    frame.put_u16(code);
    frame.put_slice(reason);
    frame.freeze()
}

/// A frame's header, with room for its payload.
fn begin(opcode: u8, len: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(len + 10);
    frame.put_u8(0x80 | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => frame.put_u8(len),
        (_, Ok(len)) => {
            frame.put_u8(126);
            frame.put_u16(len);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
    frame
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
