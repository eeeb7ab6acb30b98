//! Between a child's output and its log file: lines, cut and stamped, in bounded memory.
//!
//! The pipe of a child is read as fast as it writes, whatever the disk does: a child never
//! waits for its log. What does not fit is dropped, counted, and told in the log.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use memchr::memchr;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use weappd_base::clock::Clock;

use crate::config::LogConfig;

/// The most that waits for the disk.
const WAITING_MAX_BYTES: usize = 1024 * 1024;
/// How much is read from a pipe at once.
const READ_BYTES: usize = 64 * 1024;

/// Where a line comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogSource {
    /// The child's standard output.
    Out,
    /// The child's standard error.
    Err,
    /// weappd itself.
    Sys,
}

impl LogSource {
    fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Sys => "sys",
        }
    }
}

/// Lines that wait to be written. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LineSpool(Arc<SpoolState>);

#[derive(Debug)]
struct SpoolState {
    waiting: Mutex<WaitingLines>,
    fresh: Notify,
    clock: Clock,
    max_line: AtomicUsize,
    per_sec: AtomicU64,
}

#[derive(Debug)]
struct WaitingLines {
    bytes: Vec<u8>,
    dropped_lines: u64,
    dropped_bytes: u64,
    /// How many bytes may still be kept, refilled with time.
    allowance: u64,
    refilled: Instant,
    closed: bool,
}

impl LineSpool {
    pub(crate) fn new(config: &LogConfig, clock: Clock) -> Self {
        Self(Arc::new(SpoolState {
            waiting: Mutex::new(WaitingLines {
                bytes: Vec::new(),
                dropped_lines: 0,
                dropped_bytes: 0,
                allowance: config.max_bytes_per_sec,
                refilled: Instant::now(),
                closed: false,
            }),
            fresh: Notify::new(),
            clock,
            max_line: AtomicUsize::new(config.max_line_bytes),
            per_sec: AtomicU64::new(config.max_bytes_per_sec),
        }))
    }

    /// Keeps to other limits from now on.
    pub(crate) fn set(&self, config: &LogConfig) {
        (self.0.max_line).store(config.max_line_bytes, Ordering::Relaxed);
        (self.0.per_sec).store(config.max_bytes_per_sec, Ordering::Relaxed);
        let mut waiting = self.0.waiting.lock();
        waiting.allowance = waiting.allowance.min(config.max_bytes_per_sec);
    }

    /// Notes what weappd itself has to say.
    pub(crate) fn note(&self, text: &str) {
        let prefix = prefix(&self.0.clock, LogSource::Sys, None);
        self.0.waiting.lock().keep(&prefix, text.as_bytes(), 0);
        self.0.fresh.notify_one();
    }

    /// No more lines will come.
    pub(crate) fn close(&self) {
        self.0.waiting.lock().closed = true;
        self.0.fresh.notify_one();
    }

    /// Waits for lines and takes them all; `None` once closed and empty.
    pub(crate) async fn take(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.0.waiting.lock();
                let lost = waiting.tell_loss();
                let mut bytes = std::mem::take(&mut waiting.bytes);
                if let Some(lost) = lost {
                    bytes.extend_from_slice(&prefix(&self.0.clock, LogSource::Sys, None));
                    bytes.extend_from_slice(lost.as_bytes());
                }
                if !bytes.is_empty() {
                    return Some(bytes);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.0.fresh.notified().await;
        }
    }

    /// Reads `pipe` to its end. Once `ended` is cancelled the child is gone: what it wrote
    /// is still read, but nobody who inherited the pipe is waited for. `port_clash` becomes
    /// true when a line tells of a port that is taken.
    pub(crate) async fn pump(
        self,
        source: LogSource,
        instance: Option<u16>,
        mut pipe: impl AsyncRead + Unpin,
        (ended, port_clash): (CancellationToken, Arc<AtomicBool>),
    ) {
        let mut cutter = LineCutter::new(self.0.max_line.load(Ordering::Relaxed));
        let mut chunk = vec![0; READ_BYTES];
        let mut last_call = None;
        loop {
            let read = match last_call {
                None => tokio::select! {
                    biased;
                    read = pipe.read(&mut chunk) => read.unwrap_or(0),
                    () = ended.cancelled() => {
                        last_call = Some(Instant::now() + Duration::from_millis(300));
                        continue;
                    }
                },
                Some(until) if Instant::now() < until => {
                    let read = timeout(Duration::from_millis(50), pipe.read(&mut chunk)).await;
                    read.map_or(0, |read| read.unwrap_or(0))
                }
                Some(_) => 0,
            };
            let prefix = prefix(&self.0.clock, source, instance);
            let mut waiting = self.0.waiting.lock();
            waiting.refill(Instant::now(), self.0.per_sec.load(Ordering::Relaxed));
            cutter.max = self.0.max_line.load(Ordering::Relaxed);
            let before = waiting.bytes.len();
            let mut keep = |line: &[u8], cut: usize| {
                if tells_port_clash(line) {
                    port_clash.store(true, Ordering::Relaxed);
                }
                waiting.keep(&prefix, line, cut);
            };
            if read == 0 {
                cutter.finish(&mut keep);
            } else {
                cutter.feed(&chunk[..read], &mut keep);
            }
            if waiting.bytes.len() > before {
                self.0.fresh.notify_one();
            }
            drop(waiting);
            if read == 0 {
                return;
            }
        }
    }
}

impl WaitingLines {
    fn keep(&mut self, prefix: &[u8], line: &[u8], cut: usize) {
        let size = prefix.len() + line.len() + 1;
        if self.bytes.len() + size > WAITING_MAX_BYTES || self.allowance < size as u64 {
            self.dropped_lines += 1;
            self.dropped_bytes += (line.len() + cut) as u64;
            return;
        }
        self.allowance -= size as u64;
        self.bytes.extend_from_slice(prefix);
        self.bytes.extend_from_slice(line);
        if cut > 0 {
            self.bytes
                .extend_from_slice(format!(" …[{cut} bytes cut]").as_bytes());
        }
        self.bytes.push(b'\n');
    }

    fn refill(&mut self, now: Instant, per_sec: u64) {
        let micros = now.duration_since(self.refilled).as_micros();
        let fresh = u64::try_from(micros * u128::from(per_sec) / 1_000_000).unwrap_or(u64::MAX);
        // Small gains are left to grow, or rounding would eat them.
        if fresh > 0 {
            self.allowance = self.allowance.saturating_add(fresh).min(per_sec);
            self.refilled = now;
        }
    }

    fn tell_loss(&mut self) -> Option<String> {
        let lines = std::mem::take(&mut self.dropped_lines);
        let bytes = std::mem::take(&mut self.dropped_bytes);
        (lines > 0).then(|| {
            format!("{lines} lines ({bytes} bytes) came faster than the log may grow: dropped\n")
        })
    }
}

/// Whether a line says, in the words of the C library or of Node, that a port is taken.
fn tells_port_clash(line: &[u8]) -> bool {
    // A whole program on one line says nothing about itself.
    let line = &line[..line.len().min(1024)];
    [&b"ddress already in use"[..], b"EADDRINUSE"]
        .iter()
        .any(|words| memchr::memmem::find(line, words).is_some())
}

/// `2026-11-20T08:00:00.000Z out `, or `… out.2 ` for the third of several instances.
fn prefix(clock: &Clock, source: LogSource, instance: Option<u16>) -> Vec<u8> {
    let now = clock.unix_millis();
    let at = OffsetDateTime::from_unix_timestamp(now.to_secs().get())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at.date(), at.time());
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        now.get().rem_euclid(1_000),
        source.word(),
    );
    if let Some(instance) = instance {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(text, ".{instance}");
    }
    text.push(' ');
    text.into_bytes()
}

/// Cuts a stream of bytes into lines no longer than `max`.
#[derive(Debug)]
pub(crate) struct LineCutter {
    /// The begun line, as far as it is kept.
    line: Vec<u8>,
    /// How much of it was not kept.
    cut: usize,
    max: usize,
}

impl LineCutter {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            line: Vec::new(),
            cut: 0,
            max,
        }
    }

    /// Calls `keep` with every line that ends in `bytes` and how much of it was cut off.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], keep: &mut impl FnMut(&[u8], usize)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.line.is_empty() && self.cut == 0 && line.len() <= self.max {
                keep(trimmed(line), 0);
            } else {
                self.begin(line);
                self.finish(keep);
            }
        }
        self.begin(bytes);
    }

    /// Ends a begun line.
    pub(crate) fn finish(&mut self, keep: &mut impl FnMut(&[u8], usize)) {
        if !self.line.is_empty() || self.cut > 0 {
            keep(trimmed(&self.line), self.cut);
            self.line.clear();
            self.cut = 0;
        }
    }

    fn begin(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.max.saturating_sub(self.line.len()));
        self.line.extend_from_slice(&bytes[..kept]);
        self.cut += bytes.len() - kept;
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weappd_base::tasks::Tasks;

    fn cut(max: usize, chunks: &[&[u8]]) -> Vec<(Vec<u8>, usize)> {
        let mut lines = Vec::new();
        let mut cutter = LineCutter::new(max);
        let mut keep = |line: &[u8], cut| lines.push((line.to_vec(), cut));
        for chunk in chunks {
            cutter.feed(chunk, &mut keep);
        }
        cutter.finish(&mut keep);
        lines
    }

    #[test]
    fn lines_are_put_together_and_cut() {
        let line = |text: &str, cut| (text.as_bytes().to_vec(), cut);
        assert_eq!(
            cut(9, &[b"ab\r\nc", b"d\n\n", b"\ne"]),
            [
                line("ab", 0),
                line("cd", 0),
                line("", 0),
                line("", 0),
                line("e", 0),
            ]
        );
        assert_eq!(
            cut(3, &[b"abcdef\nxy", b"zabc", b"\nq"]),
            [line("abc", 3), line("xyz", 3), line("q", 0),]
        );
        assert_eq!(cut(3, &[]), []);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_line_too_long(text in "[a\n]{0,200}", max in 1_usize..9, step in 1_usize..50) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(step).collect();
            let lines = cut(max, &chunks);
            let whole = cut(usize::MAX / 2, &[text.as_bytes()]);
            prop_assert_eq!(lines.len(), whole.len());
            for ((line, cut), (all, _)) in lines.iter().zip(&whole) {
                prop_assert!(line.len() <= max);
                prop_assert_eq!(line.len() + cut, all.len());
            }
        }
    }

    fn spool(per_sec: u64) -> LineSpool {
        let config = LogConfig {
            max_bytes_per_sec: per_sec,
            ..LogConfig::default()
        };
        LineSpool::new(&config, Clock::manual(1_800_000_000).0)
    }

    #[tokio::test]
    async fn lines_are_stamped_and_tell_their_source() {
        let spool = spool(1 << 20);
        let ended = CancellationToken::new();
        let pump = |source, instance, text| {
            let pipe: &[u8] = text;
            spool
                .clone()
                .pump(source, instance, pipe, (ended.clone(), Arc::default()))
        };
        pump(LogSource::Out, None, b"hello\nthere").await;
        pump(LogSource::Err, Some(2), b"oh\n").await;
        spool.note("done");
        spool.close();
        let text = spool.take().await.expect("lines");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "2027-01-15T08:00:00.000Z out hello\n\
             2027-01-15T08:00:00.000Z out there\n\
             2027-01-15T08:00:00.000Z err.2 oh\n\
             2027-01-15T08:00:00.000Z sys done\n"
        );
        assert_eq!(spool.take().await, None);
    }

    #[tokio::test]
    async fn other_limits_count_for_the_next_line() {
        let spool = spool(1 << 20);
        let (mut theirs, ours) = tokio::io::duplex(64);
        let ended = CancellationToken::new();
        let pump = spool
            .clone()
            .pump(LogSource::Out, None, ours, (ended, Arc::default()));
        let tasks = Tasks::new();
        tasks.spawn(pump);
        let mut write = async |text: &[u8]| {
            let written = tokio::io::AsyncWriteExt::write_all(&mut theirs, text).await;
            written.expect("written");
            spool.take().await.expect("lines")
        };
        let text = write(b"a whole line\nbegun ").await;
        assert!(text.ends_with(b" out a whole line\n"));
        spool.set(&LogConfig {
            max_line_bytes: 4,
            max_bytes_per_sec: 64,
            ..LogConfig::default()
        });
        let text = write(b"and cut\n").await;
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("begun  …[7 bytes cut]"), "{text}");
        let more = b"abc\n".repeat(9);
        let written = tokio::io::AsyncWriteExt::write_all(&mut theirs, &more).await;
        written.expect("written");
        drop(theirs);
        assert!(tasks.finish(Duration::from_mins(1)).await);
        let text = spool.take().await.expect("lines");
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("dropped"), "{text}");
    }

    fn a_second_later(spool: &LineSpool, per_sec: u64) {
        let mut waiting = spool.0.waiting.lock();
        let later = waiting.refilled + Duration::from_secs(1);
        waiting.refill(later, per_sec);
        assert_eq!(waiting.allowance, per_sec);
        waiting.refilled = Instant::now();
    }

    #[tokio::test]
    async fn a_flood_is_bounded_counted_and_over_one_day() {
        let spool = spool(64 * 1024);
        let lines = 200_000;
        let flood = b"xxxxxxxxx\n".repeat(lines);
        let ended = CancellationToken::new();
        (spool.clone().pump(
            LogSource::Out,
            None,
            &flood[..],
            (ended.clone(), Arc::default()),
        ))
        .await;
        let kept = spool.take().await.expect("lines");
        assert!(kept.len() <= WAITING_MAX_BYTES, "{}", kept.len());
        let kept = String::from_utf8_lossy(&kept);
        let last = kept.lines().last().expect("a line");
        assert!(last.contains("sys") && last.contains("dropped"), "{last}");
        assert!(kept.lines().count() < lines);

        a_second_later(&spool, 64 * 1024);
        (spool.clone().pump(
            LogSource::Out,
            None,
            &b"again\n"[..],
            (ended, Arc::default()),
        ))
        .await;
        let after = spool.take().await.expect("lines");
        assert!(after.ends_with(b" out again\n"));
    }

    #[tokio::test]
    async fn a_pipe_somebody_else_keeps_open_is_let_go() {
        let spool = spool(1 << 20);
        let (mut theirs, ours) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"last words")
            .await
            .expect("written");
        let ended = CancellationToken::new();
        ended.cancel();
        spool
            .clone()
            .pump(LogSource::Out, None, ours, (ended, Arc::default()))
            .await;
        let text = spool.take().await.expect("lines");
        assert!(text.ends_with(b" out last words\n"));
    }
}
