//! Access log lines as they are written: masked, for people or for programs, many at once.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::mpsc::Receiver;

use time::OffsetDateTime;
use weappd_base::secret::{is_secret_name, mask, mask_tokens};
use weappd_base::unix_time::{UnixMillis, UnixSecs};

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
        if json {
            // Writing to memory does not fail.
            drop(as_json(out, &batch.text, line, second_text));
        } else {
            as_text(out, &batch.text, line, second_text);
        }
    }
}

/// Without `write!`, which took an eighth of what a session check costs.
fn as_text(out: &mut Vec<u8>, text: &str, line: &LogLine, second_text: &mut SecondText) {
    let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let host = Some(part(&line.host)).filter(|host| !host.is_empty());
    second_text.write(out, line.at);
    push(out, &[" access "]);
    push_peer(out, line.peer);
    let method = line.method.as_str();
    push(out, &[" ", host.unwrap_or("-"), " ", method, " "]);
    push(out, &[&mask_target(part(&line.target)), " "]);
    push_number(out, line.status);
    push(out, &[" "]);
    push_number(out, line.bytes);
    push(out, &["B "]);
    push_number(out, line.ms);
    push(out, &["ms \""]);
    let quote_free = |byte: &u8| if *byte == b'"' { b'\'' } else { *byte };
    out.extend(part(&line.agent).as_bytes().iter().map(quote_free));
    line.request_id
        .with_text(|id| push(out, &["\" ", id, "\n"]));
}

fn push(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer.ip() {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                push(out, &[if index == 0 { "" } else { "." }]);
                push_number(out, octet);
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(ip) => drop(write!(out, "[{ip}]")),
    }
    push(out, &[":"]);
    push_number(out, peer.port());
}

fn as_json(
    out: &mut Vec<u8>,
    text: &str,
    line: &LogLine,
    second_text: &mut SecondText,
) -> serde_json::Result<()> {
    let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    push(out, &["{\"timestamp\":\""]);
    second_text.write(out, line.at);
    push(
        out,
        &["\",\"level\":\"INFO\",\"target\":\"access\",\"peer\":\""],
    );
    push_peer(out, line.peer);
    push(out, &["\",\"method\":\"", line.method.as_str()]);
    push(out, &["\",\"status\":"]);
    push_number(out, line.status);
    push(out, &[",\"bytes\":"]);
    push_number(out, line.bytes);
    push(out, &[",\"took_ms\":"]);
    push_number(out, line.ms);
    line.request_id
        .with_text(|id| push(out, &[",\"request_id\":\"", id, "\""]));
    for (name, value) in [
        ("host", part(&line.host)),
        ("path", &mask_target(part(&line.target))),
        ("agent", part(&line.agent)),
    ] {
        push(out, &[",\"", name, "\":"]);
        serde_json::to_writer(&mut *out, value)?;
    }
    push(out, &["}\n"]);
    Ok(())
}

/// The text of a second, made once for all lines of that second.
#[derive(Debug, Default)]
struct SecondText {
    second: UnixSecs,
    text: String,
}

impl SecondText {
    fn write(&mut self, out: &mut Vec<u8>, at: UnixMillis) {
        let second = at.to_secs();
        if self.text.is_empty() || self.second != second {
            let now = OffsetDateTime::from_unix_timestamp(second.get())
                .unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.second = second;
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
        let millis = at.get().rem_euclid(1000);
        let zeros = match millis {
            0..=9 => "00",
            10..=99 => "0",
            _ => "",
        };
        push(out, &[&self.text, ".", zeros]);
        push_number(out, millis);
        push(out, &["Z"]);
    }
}

/// A request target without what must not be written down: values of secret names in the
/// query, and path segments that are tokens.
pub(crate) fn mask_target(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else {
        return mask_tokens(target);
    };
    let mut whole = String::with_capacity(target.len());
    whole.push_str(&mask_tokens(path));
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
    Cow::Owned(whole)
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
            at: UnixMillis::new(1_795_218_318_161),
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
    fn times_and_peers_are_written_as_everywhere_else() {
        let mut second_text = SecondText::default();
        for (millis, told) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (7, "1970-01-01T00:00:00.007Z"),
            (1_042, "1970-01-01T00:00:01.042Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            second_text.write(&mut out, UnixMillis::new(millis));
            assert_eq!(String::from_utf8(out).unwrap(), told);
        }
        for peer in ["0.10.255.1:65535", "[2001:db8::1]:0", "[::]:443"] {
            let mut out = Vec::new();
            push_peer(&mut out, peer.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), peer);
        }
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
