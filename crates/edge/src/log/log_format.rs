//! Access log lines as they are written: masked, for people or for programs, many at once.

use std::io::Write as _;
use std::sync::mpsc::Receiver;

use time::OffsetDateTime;
use weappd_base::secret::{is_secret_name, mask, mask_tokens};

use crate::log::access_log::{LogBatch, LogLine};
use crate::log::access_sink::AccessLog;
use crate::log::log_switch::LogSwitch;

/// Writes batches until all edge threads are gone. Runs on a thread of its own.
pub(crate) fn write(batches: &Receiver<LogBatch>, mut log: AccessLog, switch: &LogSwitch) {
    let mut second_text = SecondText::default();
    let mut out = Vec::new();
    while let Ok(batch) = batches.recv() {
        if let Some(next) = switch.take_next() {
            log = next;
        }
        out.clear();
        add(&mut out, &batch, log.json, &mut second_text);
        // What else has come by now goes out with the same call.
        for batch in batches.try_iter() {
            add(&mut out, &batch, log.json, &mut second_text);
        }
        (log.write)(&out);
    }
}

fn add(out: &mut Vec<u8>, batch: &LogBatch, json: bool, second_text: &mut SecondText) {
    for line in &batch.lines {
        let written = if json {
            as_json(out, &batch.text, line, second_text)
        } else {
            as_text(out, &batch.text, line, second_text)
        };
        // Writing to memory does not fail.
        drop(written);
    }
}

fn as_text(
    out: &mut Vec<u8>,
    text: &str,
    line: &LogLine,
    second_text: &mut SecondText,
) -> std::io::Result<()> {
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    let host = Some(part(&line.host)).filter(|host| !host.is_empty());
    second_text.write(out, line.at)?;
    writeln!(
        out,
        " access {} {} {} {} {} {}B {}ms \"{}\" {}",
        line.peer,
        host.unwrap_or("-"),
        line.method,
        mask_target(part(&line.target)),
        line.status,
        line.bytes,
        line.ms,
        part(&line.agent).replace('"', "'"),
        line.request_id,
    )
}

fn as_json(
    out: &mut Vec<u8>,
    text: &str,
    line: &LogLine,
    second_text: &mut SecondText,
) -> std::io::Result<()> {
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    out.extend_from_slice(b"{\"timestamp\":\"");
    second_text.write(out, line.at)?;
    write!(
        out,
        "\",\"level\":\"INFO\",\"target\":\"access\",\"peer\":\"{}\",\"method\":\"{}\",\"status\":{},\"bytes\":{},\"took_ms\":{},\"request_id\":\"{}\"",
        line.peer, line.method, line.status, line.bytes, line.ms, line.request_id
    )?;
    for (name, value) in [
        ("host", part(&line.host)),
        ("path", &mask_target(part(&line.target))),
        ("agent", part(&line.agent)),
    ] {
        write!(out, ",\"{name}\":")?;
        serde_json::to_writer(&mut *out, value)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// The text of a second, made once for all lines of that second.
#[derive(Debug, Default)]
struct SecondText {
    unix: i64,
    text: String,
}

impl SecondText {
    fn write(&mut self, out: &mut Vec<u8>, unix_millis: i64) -> std::io::Result<()> {
        let unix = unix_millis.div_euclid(1000);
        if self.text.is_empty() || self.unix != unix {
            let now =
                OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.unix = unix;
            self.text = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                now.year(),
                u8::from(now.month()),
                now.day(),
                now.hour(),
                now.minute(),
                now.second()
            );
        }
        write!(out, "{}.{:03}Z", self.text, unix_millis.rem_euclid(1000))
    }
}

/// A request target without what must not be written down: values of secret names in the
/// query, and path segments that are tokens.
pub(crate) fn mask_target(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut whole = String::with_capacity(target.len());
    whole.push_str(&mask_tokens(path));
    let Some(query) = query else { return whole };
    for (index, pair) in query.split('&').enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, value)) if is_secret(name) => {
                whole.push_str(name);
                whole.push('=');
                whole.push_str(&mask(value));
            }
            _ => whole.push_str(&mask_tokens(pair)),
        }
    }
    whole
}

fn is_secret(name: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    is_secret_name(&decoded) || decoded.eq_ignore_ascii_case("token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_query_and_path() {
        assert_eq!(mask_target("/a/b?x=1&y"), "/a/b?x=1&y");
        assert_eq!(
            mask_target("/l?code=0123456789abc&skey=0123456789&n=1"),
            "/l?code=0123…(13)&skey=0123…(10)&n=1"
        );
        assert_eq!(
            mask_target("/l?c%6fde=0123456789abc"),
            "/l?c%6fde=0123…(13)"
        );
        let token = "a".repeat(43);
        assert_eq!(
            mask_target(&format!("/weapp/ws/{token}")),
            "/weapp/ws/aaaa…(43)"
        );
        let file = "/weapp/files/0123456789abcdef0123456789abcdef.png".to_owned();
        assert_eq!(mask_target(&file), file);
    }

    fn batch() -> LogBatch {
        let text = "/l?code=0123456789abc&n=\"www.example.comwrk \"1\"".to_owned();
        let line = LogLine {
            at: 1_795_218_318_161,
            method: http::Method::GET,
            target: 0..25,
            host: 25..40,
            agent: 40..47,
            peer: ([127, 0, 0, 1], 7).into(),
            status: 200,
            bytes: 12,
            ms: 3,
            request_id: weappd_base::request_id::RequestId::taken("r-1").unwrap(),
        };
        LogBatch {
            text,
            lines: vec![line],
        }
    }

    fn written(json: bool) -> String {
        let mut out = Vec::new();
        add(&mut out, &batch(), json, &mut SecondText::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_people() {
        assert_eq!(
            written(false),
            "2026-11-20T23:45:18.161Z access 127.0.0.1:7 www.example.com GET \
             /l?code=0123…(13)&n=\" 200 12B 3ms \"wrk '1'\" r-1\n"
        );
    }

    #[test]
    fn a_line_for_programs() {
        let line: serde_json::Value = serde_json::from_str(&written(true)).unwrap();
        assert_eq!(line["timestamp"], "2026-11-20T23:45:18.161Z");
        assert_eq!(line["path"], "/l?code=0123…(13)&n=\"");
        assert_eq!(line["status"], 200);
        assert_eq!(line["request_id"], "r-1");
        assert_eq!(line["agent"], "wrk \"1\"");
    }
}
