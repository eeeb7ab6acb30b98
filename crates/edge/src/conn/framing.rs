//! Reads along with hyper and stops what hyper would silently mend.
//!
//! hyper merges equal `Content-Length` lines, drops `Content-Length` beside
//! `Transfer-Encoding`, takes a bare line feed for a line end and trims a tab after
//! `chunked`. Each of these is how one server is talked into seeing other requests than
//! the next one (request smuggling). [`HttpFraming`] follows the bytes of an HTTP/1
//! connection, message by message, so that it knows where each head stands.
//!
//! # Invariants
//!
//! - What passes is framed in exactly one way; everything doubtful ends the connection.
//! - The verdict on bytes does not depend on how they were cut into reads.
//! - Memory is bounded: at most [`HELD_LINE_MAX_BYTES`] bytes of an unfinished line.

use memchr::memchr;

/// The most that is kept of a line that has not wholly arrived. Only the two framing
/// headers are looked at, and neither is ever this long.
const HELD_LINE_MAX_BYTES: usize = 128;

/// Follows the messages a client sends.
#[derive(Debug, Default)]
pub(crate) struct HttpFraming {
    state: FramingState,
    length: Option<u64>,
    chunked: bool,
    held: Vec<u8>,
    /// Bytes of the unfinished line, also those that were not kept.
    line_len: usize,
    line_last: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingState {
    /// Before the first byte of a message.
    #[default]
    Between,
    RequestLine,
    Headers,
    Body(u64),
    /// The digits of a chunk's size: how many so far, and their value.
    ChunkSize(u8, u64),
    ChunkExtension(u64),
    ChunkData(u64),
    /// The line end after a chunk's data: whether the CR was there.
    ChunkEnd(bool),
    Trailers,
    Broken,
}

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AwaitedPart {
    /// A new request, or nothing.
    Request,
    /// The rest of a request head.
    Head,
    /// The rest of a request body.
    Body,
}

/// What is wrong with the bytes just read, and the index of the first one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FramingFault {
    /// A head that must not be answered with anything but 400.
    Head(usize),
    /// A body whose framing is broken.
    Body(usize),
}

impl HttpFraming {
    /// What the connection waits for now.
    pub(crate) fn waiting(&self) -> AwaitedPart {
        match self.state {
            FramingState::Between => AwaitedPart::Request,
            FramingState::RequestLine | FramingState::Headers | FramingState::Broken => {
                AwaitedPart::Head
            }
            _ => AwaitedPart::Body,
        }
    }

    /// Follows `bytes`, which came after all earlier ones. `raw` gets to know where request
    /// lines have bytes that a URI has only escaped, and that clients send as they are all
    /// the same.
    pub(crate) fn follow(
        &mut self,
        bytes: &[u8],
        raw: &mut Vec<usize>,
    ) -> Result<(), FramingFault> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let known = raw.len();
            let step = self.step(rest, raw);
            for place in raw.iter_mut().skip(known) {
                *place += at;
            }
            match step {
                Ok(taken) => at += taken,
                Err(offset) => {
                    let in_head = matches!(
                        self.state,
                        FramingState::Between
                            | FramingState::RequestLine
                            | FramingState::Headers
                            | FramingState::Broken
                    );
                    self.state = FramingState::Broken;
                    return Err(if in_head {
                        FramingFault::Head(at + offset)
                    } else {
                        FramingFault::Body(at + offset)
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes one line or one run of body bytes; on error, the index that is wrong.
    fn step(&mut self, rest: &[u8], raw: &mut Vec<usize>) -> Result<usize, usize> {
        match self.state {
            FramingState::Body(left) => {
                let (taken, left) = take(rest, left);
                if left == 0 {
                    self.message_done();
                } else {
                    self.state = FramingState::Body(left);
                }
                Ok(taken)
            }
            FramingState::ChunkData(left) => {
                let (taken, left) = take(rest, left);
                self.state = match left {
                    0 => FramingState::ChunkEnd(false),
                    _ => FramingState::ChunkData(left),
                };
                Ok(taken)
            }
            FramingState::ChunkSize(..)
            | FramingState::ChunkExtension(_)
            | FramingState::ChunkEnd(_) => {
                self.chunk_byte(rest.first().copied().unwrap_or_default())
            }
            FramingState::Broken => Err(0),
            FramingState::Between
            | FramingState::RequestLine
            | FramingState::Headers
            | FramingState::Trailers => self.line(rest, raw),
        }
    }

    fn chunk_byte(&mut self, byte: u8) -> Result<usize, usize> {
        self.state = match (self.state, byte) {
            (FramingState::ChunkSize(digits, size), _)
                if byte.is_ascii_hexdigit() && digits < 15 =>
            {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                FramingState::ChunkSize(digits + 1, size * 16 + u64::from(digit))
            }
            (FramingState::ChunkSize(1.., size), b';' | b' ' | b'\t') => {
                FramingState::ChunkExtension(size)
            }
            (FramingState::ChunkSize(1.., size), b'\r') => {
                self.line_last = b'\r';
                FramingState::ChunkExtension(size)
            }
            (FramingState::ChunkExtension(size), b'\n') if self.line_last == b'\r' => {
                self.line_last = 0;
                match size {
                    0 => FramingState::Trailers,
                    _ => FramingState::ChunkData(size),
                }
            }
            (FramingState::ChunkExtension(_), b'\n') => return Err(0),
            // A CR that no LF follows.
            (FramingState::ChunkExtension(_), _) if self.line_last == b'\r' => return Err(0),
            (FramingState::ChunkExtension(size), _) => {
                self.line_last = byte;
                FramingState::ChunkExtension(size)
            }
            (FramingState::ChunkEnd(false), b'\r') => FramingState::ChunkEnd(true),
            (FramingState::ChunkEnd(true), b'\n') => FramingState::ChunkSize(0, 0),
            _ => return Err(0),
        };
        Ok(1)
    }

    /// Takes bytes up to a line end, or all of them.
    fn line(&mut self, rest: &[u8], raw: &mut Vec<usize>) -> Result<usize, usize> {
        if self.state == FramingState::Between {
            self.state = FramingState::RequestLine;
        }
        let end = memchr(b'\n', rest);
        if self.state == FramingState::RequestLine {
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if line.iter().any(|byte| wants_escaping(*byte)) {
                let all = line.iter().enumerate();
                let these = all.filter(|(_, byte)| wants_escaping(**byte));
                raw.extend(these.map(|(at, _)| at));
            }
        }
        let Some(end) = end else {
            let room = HELD_LINE_MAX_BYTES.saturating_sub(self.held.len());
            self.held
                .extend_from_slice(rest.get(..room).unwrap_or(rest));
            self.line_len += rest.len();
            self.line_last = rest.last().copied().unwrap_or_default();
            return Ok(rest.len());
        };
        let part = rest.get(..end).unwrap_or_default();
        let last = part.last().copied().unwrap_or(self.line_last);
        if last != b'\r' {
            return Err(end);
        }
        let verdict = if self.line_len == 0 {
            self.whole_line(part.get(..end - 1).unwrap_or_default(), false)
        } else {
            let mut held = std::mem::take(&mut self.held);
            let room = HELD_LINE_MAX_BYTES.saturating_sub(held.len());
            held.extend_from_slice(part.get(..room).unwrap_or(part));
            let cut = self.line_len + part.len() > held.len();
            let line = held.strip_suffix(b"\r").unwrap_or(&held);
            self.whole_line(line, cut)
        };
        self.line_len = 0;
        self.line_last = 0;
        verdict.map(|()| end + 1).map_err(|()| end)
    }

    /// Judges a line without its line end. `cut`: the line was longer than what was kept.
    fn whole_line(&mut self, line: &[u8], cut: bool) -> Result<(), ()> {
        match self.state {
            FramingState::RequestLine if line.is_empty() => self.state = FramingState::Between,
            // HTTP/2 is spoken only where it was agreed on.
            FramingState::RequestLine if line == b"PRI * HTTP/2.0" => return Err(()),
            FramingState::RequestLine => {
                self.length = None;
                self.chunked = false;
                self.state = FramingState::Headers;
            }
            FramingState::Headers if line.is_empty() => match (self.chunked, self.length) {
                (true, None) => self.state = FramingState::ChunkSize(0, 0),
                (true, Some(_)) => return Err(()),
                (false, Some(length @ 1..)) => self.state = FramingState::Body(length),
                (false, _) => self.message_done(),
            },
            FramingState::Headers => self.header(line, cut)?,
            FramingState::Trailers if line.is_empty() => self.message_done(),
            _ => {}
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], cut: bool) -> Result<(), ()> {
        if let Some(value) = value_of(line, b"content-length:") {
            if cut || self.length.is_some() {
                return Err(());
            }
            self.length = Some(length(value).ok_or(())?);
        } else if let Some(value) = value_of(line, b"transfer-encoding:") {
            let value = value.trim_ascii_start();
            if cut || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(());
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn message_done(&mut self) {
        self.state = FramingState::Between;
    }
}

/// Whether a URI has this byte only as `%XX`, and hyper takes no other.
fn wants_escaping(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..)
}

/// How many of `rest` belong to a run of `left` bytes, and what is left of it then.
fn take(rest: &[u8], left: u64) -> (usize, u64) {
    let have = u64::try_from(rest.len()).unwrap_or(u64::MAX);
    if have <= left {
        (rest.len(), left - have)
    } else {
        (usize::try_from(left).unwrap_or(rest.len()), 0)
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(bytes: &[u8]) -> Result<AwaitedPart, bool> {
        let mut framing = HttpFraming::default();
        match framing.follow(bytes, &mut Vec::new()) {
            Ok(()) => Ok(framing.waiting()),
            Err(fault) => Err(matches!(fault, FramingFault::Head(_))),
        }
    }

    #[test]
    fn whole_messages_leave_nothing_to_wait_for() {
        for good in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(verdict(good), Ok(AwaitedPart::Request), "{}", good.escape_ascii());
        }
    }

    #[test]
    fn half_messages_say_what_is_missing() {
        assert_eq!(verdict(b"GET / HT"), Ok(AwaitedPart::Head));
        assert_eq!(
            verdict(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"),
            Ok(AwaitedPart::Body)
        );
        assert_eq!(
            verdict(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            Ok(AwaitedPart::Body)
        );
    }

    #[test]
    fn doubtful_heads_are_refused() {
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\t\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert_eq!(verdict(bad), Err(true), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bad in [
            "2\n",
            "2;\n",
            "0x2\r\n",
            "\r\n",
            "11111111111111111\r\n",
            "2\r\nabX",
            "2;a\rb\r\n",
        ] {
            let all = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
            assert_eq!(verdict(all.as_bytes()), Err(false), "{bad:?}");
        }
    }

    #[test]
    fn a_framing_header_longer_than_what_is_kept_is_refused() {
        let mut framing = HttpFraming::default();
        let padded = format!("POST / HTTP/1.1\r\nContent-Length: {}5", " ".repeat(300));
        assert_eq!(framing.follow(padded.as_bytes(), &mut Vec::new()), Ok(()));
        assert!(framing.follow(b"\r\n", &mut Vec::new()).is_err());
    }

    #[test]
    fn bytes_that_want_escaping_are_found_in_request_lines_only() {
        let all = b"\r\nGET /\"?\xB0 HTTP/1.1\r\nX: \"\xB0\r\n\r\nGET /<> HTTP/1.1\r\n\r\n";
        for cut in 0..all.len() {
            let (first, second) = all.split_at(cut);
            let mut framing = HttpFraming::default();
            let mut found = Vec::new();
            for (base, part) in [(0, first), (cut, second)] {
                let mut raw = Vec::new();
                assert_eq!(framing.follow(part, &mut raw), Ok(()));
                found.extend(raw.into_iter().map(|at| base + at));
            }
            assert_eq!(found, [7, 9, 35, 36], "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_the_reads(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "\r\n", "\n", "hello",
                "Transfer-Encoding: chunked\r\n", "5\r\n", "0\r\n", "X: y\r\n", "\r", "5;e\r\n",
            ]), 0..12),
            cuts in prop::collection::vec(1_usize..9, 1..12),
        ) {
            let all = parts.concat();
            let whole = verdict(all.as_bytes());
            let mut framing = HttpFraming::default();
            let mut rest = all.as_bytes();
            let mut pieces = Ok(AwaitedPart::Request);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let cut = cuts.next().copied().unwrap_or(1).min(rest.len());
                let (now, later) = rest.split_at(cut);
                rest = later;
                if let Err(fault) = framing.follow(now, &mut Vec::new()) {
                    pieces = Err(matches!(fault, FramingFault::Head(_)));
                    break;
                }
                pieces = Ok(framing.waiting());
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
