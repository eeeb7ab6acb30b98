//! Just enough plain HTTP/1.1 to log users in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request without a body and reads a JSON answer with status 200.
pub(super) fn json(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Value, String> {
    let body = text(port, method, path, headers)?;
    serde_json::from_str(&body).map_err(|error| format!("{method} {path}: {error}: {body}"))
}

/// Sends a request without a body and reads an answer with status 200.
pub(super) fn text(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<String, String> {
    let answer = ask(port, method, path, headers)
        .map_err(|error| format!("{method} {path} on port {port}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("{method} {path} on port {port}: {status} {body}"));
    }
    Ok(body.to_owned())
}

fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<String, std::io::Error> {
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: 0\r\n{headers}\r\n"
    );
    let mut tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.write_all(request.as_bytes())?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer)?;
    Ok(answer)
}
