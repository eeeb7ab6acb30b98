//! Log files: written, rotated, read from the end, followed.
//!
//! One app has one log, `{app}.log`; full ones are set aside as `{app}.log.1` (the newest)
//! and so on. Every file has a *generation*, counted upwards; a follower remembers the
//! generation and offset it has read, so it loses nothing when files change their names.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use weappd_base::clock::Clock;
use weappd_base::tasks::Work;

use crate::config::LogConfig;
use crate::error::Error;
use crate::spool::LineSpool;

/// How much is read from a file at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// The most that is read from the end of a log.
const TAIL_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The log of one app. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AppLog {
    pub(crate) spool: LineSpool,
    /// Held while a batch is written and while a reader finds its place, so that a tail
    /// and what is followed after it join without a gap. Never across an await.
    files: Arc<Mutex<LogFiles>>,
    place: watch::Receiver<LogPosition>,
    path: Arc<Path>,
}

/// How far the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogPosition {
    generation: u64,
    len: u64,
    closed: bool,
}

#[derive(Debug)]
struct LogFiles {
    path: PathBuf,
    current: Arc<File>,
    place: watch::Sender<LogPosition>,
    max_bytes: u64,
    keep: u32,
}

impl AppLog {
    pub(crate) fn open(path: PathBuf, config: &LogConfig, clock: Clock) -> Result<Self, Error> {
        let opened = make_dir_of(&path).and_then(|()| open(&path));
        let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|source| Error::OpenLog {
            path: path.clone(),
            source,
        })?;
        let (sender, place) = watch::channel(LogPosition {
            generation: 0,
            len,
            closed: false,
        });
        Ok(Self {
            spool: LineSpool::new(config, clock),
            path: path.as_path().into(),
            files: Arc::new(Mutex::new(LogFiles {
                path,
                current: Arc::new(file),
                place: sender,
                max_bytes: config.max_file_bytes,
                keep: config.max_files.max(1),
            })),
            place,
        })
    }

    /// Keeps to other limits from now on.
    pub(crate) fn set(&self, config: &LogConfig) {
        self.spool.set(config);
        let mut files = self.files.lock();
        files.max_bytes = config.max_file_bytes;
        files.set_keep(config.max_files.max(1));
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes lines until the spool is closed.
    pub(crate) async fn write(self, work: Work) {
        let mut failing = false;
        while let Some(batch) = self.spool.take().await {
            let files = Arc::clone(&self.files);
            let written = work.run_blocking(move || files.lock().append(&batch)).await;
            match written {
                Ok(Ok(())) => failing = false,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::error!(path = %self.path.display(), %error, "an app's log cannot be written: its lines are lost");
                }
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
        let files = self.files.lock();
        files.place.send_modify(|place| place.closed = true);
    }

    /// The last `lines` lines, and what comes after them if `follow`.
    pub(crate) async fn read(
        &self,
        lines: usize,
        follow: bool,
        work: Work,
    ) -> Result<LogStream, Error> {
        let files = Arc::clone(&self.files);
        let look = move || {
            let files = files.lock();
            let tail = files.tail(lines)?;
            let place = *files.place.borrow();
            Ok((tail, place, Arc::clone(&files.current)))
        };
        let looked: io::Result<_> = match work.run_blocking(look).await {
            Ok(looked) => looked,
            Err(_) => return Err(Error::Closed),
        };
        let (tail, place, file) = looked.map_err(|source| Error::ReadLog {
            path: self.path.to_path_buf(),
            source,
        })?;
        Ok(LogStream {
            tail: Some(tail.into()),
            follower: follow.then_some(LogFollower {
                file,
                generation: place.generation,
                offset: place.len,
            }),
            log: self.clone(),
            work,
        })
    }
}

/// The directory of logs may have been removed since the start, to make room. The data
/// directory around it is not made anew: somebody may have moved it away.
fn make_dir_of(path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
}

impl LogFiles {
    /// The file that was current `age` generations ago.
    fn aged(&self, age: u64) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{age}"));
        name.into()
    }

    /// Keeps so many files from now on; what is older is removed.
    fn set_keep(&mut self, keep: u32) {
        for age in keep..self.keep {
            // One that stays is in nobody's way.
            drop(fs::remove_file(self.aged(age.into())));
        }
        self.keep = keep;
    }

    fn append(&mut self, mut batch: &[u8]) -> io::Result<()> {
        // Somebody removed or renamed the file: begin a new one instead of writing to nowhere.
        let moved = fs::metadata(&self.path)
            .and_then(|there| Ok(there.ino() != self.current.metadata()?.ino()));
        if moved.unwrap_or(true) {
            self.begin()?;
        }
        while !batch.is_empty() {
            let len = self.place.borrow().len;
            let room = usize::try_from(self.max_bytes.saturating_sub(len)).unwrap_or(usize::MAX);
            let part = match whole_lines(batch, room) {
                0 if len > 0 => {
                    self.rotate()?;
                    continue;
                }
                // A single line longer than a file goes whole into a file of its own.
                0 => memchr::memchr(b'\n', batch).map_or(batch.len(), |end| end + 1),
                part => part,
            };
            let (now, later) = batch.split_at(part);
            (&*self.current).write_all(now)?;
            self.place.send_modify(|place| place.len += part as u64);
            batch = later;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = u64::from(self.keep) - 1;
        match fs::remove_file(self.aged(oldest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for age in (0..oldest).rev() {
            match fs::rename(self.aged(age), self.aged(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.begin()
    }

    fn begin(&mut self) -> io::Result<()> {
        self.current = Arc::new(open(&self.path)?);
        let len = self.current.metadata()?.len();
        self.place.send_modify(|place| {
            place.generation += 1;
            place.len = len;
        });
        Ok(())
    }

    /// The last `lines` lines of all files.
    fn tail(&self, lines: usize) -> io::Result<Vec<u8>> {
        let mut parts = Vec::new();
        let (mut missing, mut most) = (lines, TAIL_MAX_BYTES);
        for age in 0..u64::from(self.keep) {
            if missing == 0 || most == 0 {
                break;
            }
            let file = match File::open(self.aged(age)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let part = last_lines(&file, missing, most)?;
            missing -= memchr::memchr_iter(b'\n', &part).count().min(missing);
            most = most.saturating_sub(part.len() as u64);
            parts.push(part);
        }
        parts.reverse();
        Ok(parts.concat())
    }

    /// The file of `generation`, or of the oldest one that is left, with its generation.
    fn of_generation(&self, generation: u64) -> (Arc<File>, u64) {
        let now = self.place.borrow().generation;
        if generation >= now {
            return (Arc::clone(&self.current), now);
        }
        let oldest = u64::from(self.keep) - 1;
        for age in (1..=(now - generation).min(oldest)).rev() {
            if let Ok(file) = File::open(self.aged(age)) {
                return (Arc::new(file), now - age);
            }
        }
        (Arc::clone(&self.current), now)
    }
}

/// How many bytes of `batch` are whole lines within `room`.
fn whole_lines(batch: &[u8], room: usize) -> usize {
    let fits = &batch[..batch.len().min(room)];
    memchr::memrchr(b'\n', fits).map_or(0, |end| end + 1)
}

/// The last `lines` lines of a file, at most `most` bytes.
fn last_lines(file: &File, lines: usize, most: u64) -> io::Result<Vec<u8>> {
    let end = file.metadata()?.len();
    let floor = end.saturating_sub(most);
    let (mut start, mut seen) = (end, 0);
    let mut block = vec![0; BLOCK_BYTES];
    let mut cut = None;
    while start > floor && cut.is_none() {
        let size = (start - floor).min(BLOCK_BYTES as u64);
        start -= size;
        let block = &mut block[..usize::try_from(size).unwrap_or(BLOCK_BYTES)];
        file.read_exact_at(block, start)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            let after = start + at as u64 + 1;
            // The newline at the very end closes the last line; it opens none.
            seen += usize::from(after < end);
            if seen == lines {
                cut = Some(after);
                break;
            }
        }
    }
    let from = cut.unwrap_or(start);
    let mut tail = vec![0; usize::try_from(end - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from)?;
    Ok(tail)
}

/// Lines of a log, in chunks.
#[derive(Debug)]
pub struct LogStream {
    tail: Option<Bytes>,
    follower: Option<LogFollower>,
    log: AppLog,
    work: Work,
}

#[derive(Clone, Debug)]
struct LogFollower {
    file: Arc<File>,
    generation: u64,
    offset: u64,
}

impl LogStream {
    /// The next chunk; `None` at the end, which a followed log reaches when weappd stops.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(tail) = self.tail.take().filter(|tail| !tail.is_empty()) {
            return Some(tail);
        }
        let mut news = self.log.place.clone();
        loop {
            let mut follower = self.follower.clone()?;
            let place = *news.borrow_and_update();
            let files = Arc::clone(&self.log.files);
            let read = move || follower.read(&files).map(|chunk| (chunk, follower));
            let (chunk, follower) = self.work.run_blocking(read).await.ok()?.ok()?;
            self.follower = Some(follower);
            if !chunk.is_empty() {
                return Some(chunk.into());
            }
            if place.closed || news.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl LogFollower {
    /// Reads on, into the next file if this one is read and no longer written.
    fn read(&mut self, files: &Mutex<LogFiles>) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; BLOCK_BYTES];
        loop {
            let length = self.file.read_at(&mut chunk, self.offset)?;
            if length > 0 {
                self.offset += length as u64;
                chunk.truncate(length);
                return Ok(chunk);
            }
            let files = files.lock();
            if files.place.borrow().generation == self.generation {
                return Ok(Vec::new());
            }
            let wanted = self.generation + 1;
            // Written between the look above and the lock.
            if self.file.metadata()?.len() > self.offset {
                continue;
            }
            (self.file, self.generation) = files.of_generation(wanted);
            self.offset = 0;
            if self.generation > wanted {
                return Ok(b"... older lines were rotated away before they were read\n".to_vec());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_logs_is_made_anew_and_the_one_around_it_is_not() {
        let data = std::env::temp_dir().join(format!("weappd-log-dir-{}", std::process::id()));
        let open = || {
            let config = LogConfig::default();
            AppLog::open(data.join("logs/a.log"), &config, Clock::manual(0).0)
        };
        let refused = open().expect_err("no data directory");
        assert!(refused.hint().contains("data directory"), "{refused}");
        assert!(!data.exists());
        fs::create_dir(&data).expect("a directory");
        open().expect("a log");
        assert!(data.join("logs/a.log").exists());
        fs::remove_dir_all(&data).expect("removed");
    }

    fn log(dir: &Path, max_file_bytes: u64, max_files: u32) -> AppLog {
        let config = LogConfig {
            max_file_bytes,
            max_files,
            ..LogConfig::default()
        };
        AppLog::open(dir.join("a.log"), &config, Clock::manual(0).0).expect("a log")
    }

    fn append(log: &AppLog, text: &str) {
        log.files.lock().append(text.as_bytes()).expect("written");
    }

    fn sizes(dir: &Path) -> Vec<(String, u64)> {
        let mut sizes: Vec<_> = fs::read_dir(dir)
            .expect("a folder")
            .flatten()
            .map(|entry| {
                let size = entry.metadata().expect("a size").len();
                (entry.file_name().to_string_lossy().into_owned(), size)
            })
            .collect();
        sizes.sort();
        sizes
    }

    async fn text(stream: &mut LogStream) -> String {
        let chunk = stream.next().await.expect("a chunk");
        String::from_utf8_lossy(&chunk).into_owned()
    }

    #[test]
    fn the_total_stays_below_its_cap() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 100, 3);
        for round in 0..100 {
            append(&log, &format!("{round:09}\n").repeat(7));
            let sizes = sizes(dir.path());
            assert!(sizes.len() <= 3, "{sizes:?}");
            assert!(sizes.iter().all(|(_, size)| *size <= 100), "{sizes:?}");
        }
        let kept = String::from_utf8(log.files.lock().tail(1_000).expect("read")).expect("text");
        assert!(kept.ends_with("000000099\n"));
        assert!(kept.len() > 200, "no more than needed is thrown away");
        let mut numbers: Vec<_> = kept.lines().collect();
        assert!(numbers.iter().all(|line| line.len() == 9), "whole lines");
        numbers.dedup();
        assert!(numbers.is_sorted());
    }

    #[test]
    fn other_limits_count_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 20, 4);
        append(&log, &"123456789\n".repeat(8));
        assert_eq!(sizes(dir.path()).len(), 4);
        log.set(&LogConfig {
            max_file_bytes: 50,
            max_files: 2,
            ..LogConfig::default()
        });
        assert_eq!(sizes(dir.path()).len(), 2);
        append(&log, &"123456789\n".repeat(3));
        assert_eq!(sizes(dir.path())[0], ("a.log".to_owned(), 50));
    }

    #[test]
    fn one_file_is_a_valid_number_of_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 20, 1);
        append(&log, &"123456789\n".repeat(5));
        append(&log, "a line that is longer than a file may be\n");
        assert_eq!(sizes(dir.path()), [("a.log".to_owned(), 41)]);
    }

    #[tokio::test]
    async fn the_tail_reaches_back_over_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 20, 3);
        for number in 1..=5 {
            append(&log, &format!("line {number:04}\n"));
        }
        for (lines, want) in [
            (0, None),
            (1, Some("line 0005\n")),
            (3, Some("line 0003\nline 0004\nline 0005\n")),
            (
                99,
                Some("line 0001\nline 0002\nline 0003\nline 0004\nline 0005\n"),
            ),
        ] {
            let mut stream = log.read(lines, false, Work::current()).await.expect("read");
            let got = stream.next().await;
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{lines}");
            if got.is_some() {
                assert_eq!(stream.next().await, None);
            }
        }
    }

    #[tokio::test]
    async fn following_goes_on_over_rotation() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 20, 4);
        append(&log, "one\n");
        let mut stream = log.read(10, true, Work::current()).await.expect("read");
        assert_eq!(text(&mut stream).await, "one\n");
        append(&log, "two\n");
        assert_eq!(text(&mut stream).await, "two\n");
        append(&log, "three is long\nfour is long too\nfive\n");
        let mut rest = String::new();
        while !rest.ends_with("five\n") {
            rest += &text(&mut stream).await;
        }
        assert_eq!(rest, "three is long\nfour is long too\nfive\n");
        log.spool.close();
        log.clone().write(Work::current()).await;
        assert_eq!(stream.next().await, None, "ends when the log is closed");
    }

    #[tokio::test]
    async fn a_follower_that_fell_behind_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 20, 2);
        let mut stream = log.read(0, true, Work::current()).await.expect("read");
        for number in 0..9 {
            append(&log, &format!("a long line {number}\n"));
        }
        let mut all = String::new();
        while !all.ends_with("line 8\n") {
            all += &text(&mut stream).await;
        }
        assert_eq!(
            all,
            "a long line 0\n... older lines were rotated away before they were read\n\
             a long line 7\na long line 8\n"
        );
    }

    #[tokio::test]
    async fn a_removed_log_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path(), 1_000, 2);
        append(&log, "one\n");
        let mut stream = log.read(0, true, Work::current()).await.expect("read");
        fs::remove_file(log.path()).expect("removed");
        append(&log, "two\n");
        assert_eq!(fs::read_to_string(log.path()).expect("a log"), "two\n");
        assert_eq!(text(&mut stream).await, "two\n");
    }

    #[tokio::test]
    async fn an_old_log_is_continued() {
        let dir = tempfile::tempdir().expect("a directory");
        append(&log(dir.path(), 20, 2), "before\n");
        let log = log(dir.path(), 20, 2);
        append(&log, "a longer line\n");
        assert_eq!(sizes(dir.path())[1], ("a.log.1".to_owned(), 7));
    }
}
