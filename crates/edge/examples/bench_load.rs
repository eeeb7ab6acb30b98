//! The load of `cargo xtask bench` where wrk does not reach: requests from a list, each with
//! the answer it must get.
//!
//! `bench_load PORT tls|plain LIST CONNECTIONS THREADS SECONDS|once [KEEP]` sends the requests
//! of LIST over keep-alive connections, each the next one of the list, round and round for
//! SECONDS, or every one of them `once`. A line of LIST is
//! `METHOD<tab>PATH<tab>headers, each ended by "|"<tab>body<tab>expected, parted by "|"`;
//! `{n}` in path or headers becomes a number of 21 digits that is never given twice. An answer
//! is right if it is 200 and holds every expected text. KEEP is a file for the `skey` of each
//! answer, with the last expected text beside it. One line `RESULT {...}` tells the outcome.
//!
//! The next request of a connection follows the answer to the last one.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memchr::memmem::find;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsConnector;

type Failure = Box<dyn Error + Send + Sync>;

/// No answer is longer.
const MAX_ANSWER: usize = 64 * 1024;

/// Where `{n}` stands in a request.
const MARK: &[u8] = b"{n}";

/// A request and what its answer must hold.
struct Order {
    request: Vec<u8>,
    /// Where the number goes; it has as many digits as the zeros put there.
    number_at: Option<usize>,
    expected: Vec<String>,
}

/// What all connections share.
struct Shared {
    port: u16,
    tls: Option<TlsConnector>,
    orders: Vec<Order>,
    next: AtomicUsize,
    /// How many requests are sent at most.
    most: usize,
    until: Instant,
    first_number: u128,
    keep: bool,
    seen: Mutex<Seen>,
}

/// What came of it.
#[derive(Default)]
struct Seen {
    nanos: Vec<u64>,
    bad: usize,
    example: String,
    kept: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (port, road, list, connections, threads, time, keep) = match words.as_slice() {
        [port, road, list, connections, threads, time] => {
            (port, road, list, connections, threads, time, None)
        }
        [port, road, list, connections, threads, time, keep] => {
            (port, road, list, connections, threads, time, Some(*keep))
        }
        _ => return Err("see the top of bench_load.rs".into()),
    };
    let orders: Vec<Order> = fs::read_to_string(list)?
        .lines()
        .map(order)
        .collect::<Result<_, _>>()?;
    let once = *time == "once";
    let secs: u64 = if once { 3600 } else { time.parse()? };
    let began = Instant::now();
    let shared = Arc::new(Shared {
        port: port.parse()?,
        tls: (*road == "tls").then(connector).transpose()?,
        next: AtomicUsize::new(0),
        most: if once { orders.len() } else { usize::MAX },
        orders,
        until: began + Duration::from_secs(secs),
        first_number: first_number()?,
        keep: keep.is_some(),
        seen: Mutex::default(),
    });
    let (connections, threads): (usize, usize) = (connections.parse()?, threads.parse()?);
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| {
                let count = (connections + lane) / threads;
                let shared = Arc::clone(&shared);
                scope.spawn(move || run_lane(shared, count))
            })
            .collect();
        for lane in lanes {
            lane.join().map_err(|_| "a thread broke")??;
        }
        Ok::<_, Failure>(())
    })?;
    let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = keep {
        fs::write(file, seen.kept.concat())?;
    }
    tell(&mut seen, began.elapsed())
}

#[expect(
    clippy::disallowed_methods,
    reason = "numbers never given before by any run"
)]
fn first_number() -> Result<u128, Failure> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}

#[expect(clippy::print_stdout, reason = "xtask reads it")]
fn tell(seen: &mut Seen, took: Duration) -> Result<(), Failure> {
    seen.nanos.sort_unstable();
    let at = |share: usize| {
        let last = seen.nanos.len().saturating_sub(1);
        let place = (seen.nanos.len() * share / 1000).min(last);
        seen.nanos.get(place).copied().unwrap_or_default() / 1000
    };
    println!(
        "RESULT {{\"requests\":{},\"us\":{},\"p50_us\":{},\"p99_us\":{},\"max_us\":{},\
         \"bad\":{},\"errors\":0,\"status\":0}}",
        seen.nanos.len(),
        took.as_micros(),
        at(500),
        at(990),
        at(1000),
        seen.bad
    );
    if seen.bad > 0 {
        println!("a bad answer: {}", seen.example);
    }
    std::io::stdout().flush()?;
    Ok(())
}

/// A line of the list as it goes over the wire.
fn order(line: &str) -> Result<Order, Failure> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [method, path, headers, body, expected] = fields.as_slice() else {
        return Err(format!("not a request: {line}").into());
    };
    let headers = headers.replace('|', "\r\n");
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    let number_at = find(text.as_bytes(), MARK);
    Ok(Order {
        request: text.replace("{n}", &"0".repeat(21)).into_bytes(),
        number_at,
        expected: expected.split('|').map(str::to_owned).collect(),
    })
}

/// Nobody is fooled here: the certificate was made a moment ago, by the benchmark itself.
fn connector() -> Result<TlsConnector, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let known = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(known)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// One thread with its connections.
fn run_lane(shared: Arc<Shared>, count: usize) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let phones: Vec<_> = (0..count)
            .map(|_| spawn_local(phone(Arc::clone(&shared))))
            .collect();
        for phone in phones {
            let mut seen = phone.await??;
            let mut all = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.nanos.append(&mut seen.nanos);
            all.kept.append(&mut seen.kept);
            all.bad += seen.bad;
            if seen.bad > 0 {
                all.example = seen.example;
            }
        }
        Ok(())
    })
}

/// One connection.
async fn phone(shared: Arc<Shared>) -> Result<Seen, Failure> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.port)).await?;
    tcp.set_nodelay(true)?;
    match &shared.tls {
        None => talk(&shared, tcp).await,
        Some(tls) => {
            let name = ServerName::try_from("localhost")?;
            talk(&shared, tls.connect(name, tcp).await?).await
        }
    }
}

async fn talk(
    shared: &Shared,
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        if number >= shared.most || began >= shared.until {
            return Ok(seen);
        }
        let at = number % shared.orders.len().max(1);
        let Some(order) = shared.orders.get(at) else {
            return Err("the list is empty".into());
        };
        request.clone_from(&order.request);
        if let Some(at) = order.number_at {
            let digits = format!("{:021}", shared.first_number + number as u128);
            if let Some(place) = request.get_mut(at..at + digits.len()) {
                place.copy_from_slice(digits.as_bytes());
            }
        }
        socket.write_all(&request).await?;
        socket.flush().await?;
        let body_at = read_answer(&mut socket, &mut answer).await?;
        seen.nanos
            .push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let (head, body) = answer.split_at(body_at);
        let has_all = (order.expected.iter()).all(|text| find(body, text.as_bytes()).is_some());
        if !head.starts_with(b"HTTP/1.1 200 ") || !has_all {
            seen.bad += 1;
            seen.example = String::from_utf8_lossy(&answer).chars().take(900).collect();
        } else if shared.keep {
            let text = String::from_utf8_lossy(body);
            let skey = text.split("\"skey\":\"").nth(1).unwrap_or_default();
            let skey = skey.split('"').next().unwrap_or_default();
            let about = order.expected.last().map_or("", String::as_str);
            seen.kept.push(format!("{skey}\t{about}\n"));
        }
    }
}

/// Reads one answer, whole; says where its body begins.
async fn read_answer(
    socket: &mut (impl AsyncRead + Unpin),
    answer: &mut Vec<u8>,
) -> Result<usize, Failure> {
    answer.clear();
    let mut end = None;
    loop {
        if let Some((body_at, end)) = end
            && answer.len() >= end
        {
            return Ok(body_at);
        }
        if answer.len() > MAX_ANSWER {
            return Err("the answer is too long".into());
        }
        if socket.read_buf(answer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if end.is_none()
            && let Some(at) = find(answer, b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(answer.get(..at).unwrap_or_default());
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .ok_or_else(|| format!("an answer without a length: {head}"))?;
            end = Some((at + 4, at + 4 + length));
        }
    }
}
