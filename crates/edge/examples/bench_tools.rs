//! Two small helpers of `cargo xtask bench`, here because they need TLS and xtask has none.
//!
//! `bench_tools cert CERT KEY` writes a self-signed ECDSA P-256 certificate for `localhost`.
//! `bench_tools first PORT CERT SKEY TEXT` says `ready`, then asks `GET /weapp/user` over
//! HTTPS until an answer is 200 and holds TEXT, and prints when that was, in nanoseconds
//! since 1970.

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn Error + Send + Sync>;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait when nobody listens yet: well below what is measured.
const REFUSED: Duration = Duration::from_micros(300);

/// How long to wait when a proxy answers for a server that is not up.
const NOT_YET: Duration = Duration::from_millis(3);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cert", cert, key] => write_cert(cert, key),
        ["first", port, cert, skey, text] => {
            let phone = Phone::new(port.parse()?, cert, skey, text)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            say("ready");
            say(&runtime.block_on(phone.first())?.as_nanos().to_string());
            Ok(())
        }
        _ => Err("usage: bench_tools cert CERT KEY | first PORT CERT SKEY TEXT".into()),
    }
}

#[expect(clippy::print_stdout, reason = "xtask reads it")]
fn say(line: &str) {
    println!("{line}");
}

fn write_cert(cert: &str, key: &str) -> Result<(), Failure> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?;
    fs::write(cert, made.pem())?;
    fs::write(key, pair.serialize_pem())?;
    Ok(())
}

/// Asks until it is answered.
struct Phone {
    port: u16,
    tls: TlsConnector,
    skey: String,
    text: String,
}

impl Phone {
    fn new(port: u16, cert: &str, skey: &str, text: &str) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cert)?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            port,
            tls: TlsConnector::from(Arc::new(config)),
            skey: skey.to_owned(),
            text: text.to_owned(),
        })
    }

    /// When the first right answer was here.
    #[expect(
        clippy::disallowed_methods,
        reason = "another process compares its own"
    )]
    async fn first(&self) -> Result<Duration, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Ok(tcp) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await else {
                sleep(REFUSED).await;
                continue;
            };
            if self.ask(tcp).await.unwrap_or(false) {
                return Ok(SystemTime::now().duration_since(UNIX_EPOCH)?);
            }
            sleep(NOT_YET).await;
        }
        Err("no right answer in a minute".into())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a task that lives for one request"
    )]
    async fn ask(&self, tcp: TcpStream) -> Result<bool, Failure> {
        let tls = self
            .tls
            .connect(ServerName::try_from("localhost")?, tcp)
            .await?;
        let (mut send, connection) = http1::handshake(TokioIo::new(tls)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::get("/weapp/user")
            .header(header::HOST, "localhost")
            .header("x-wx-skey", &self.skey)
            .body(Empty::<Bytes>::new())?;
        let answer = send.send_request(request).await?;
        let is_ok = answer.status() == StatusCode::OK;
        let body = answer.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok(is_ok && String::from_utf8_lossy(&body).contains(&self.text))
    }
}
