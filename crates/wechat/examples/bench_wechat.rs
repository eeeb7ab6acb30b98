//! A WeChat for `cargo xtask bench` that keeps nothing, so that every answer costs it the
//! same however many were given before. (`weappd simulate` keeps users and codes, as WeChat
//! does, and works with them.)
//!
//! `bench_wechat serve PORT THREADS [CERT KEY]` answers on loopback: a code names its user
//! and which of the user's session keys to give; the rest of a code is anything. Calls with
//! an access token are answered "ok" if it is the one `stable_token` gave.
//! `bench_wechat logins APPID USERS KEYS FILE` writes what phones bring to log in: openid,
//! code (ending in `{n}`, a number to fill in), encrypted data and iv a line; first every
//! user once, then every user with the next key.
//! `bench_wechat decrypt APPID FILE ROUNDS` opens the data of such a file and tells the
//! nanoseconds each took.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use weappd_base::secret::Secret;
use weappd_wechat::open_data;

type Failure = Box<dyn Error + Send + Sync>;

const TOKEN: &str = "token-of-the-benchmark";

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port, threads] => serve(port.parse()?, threads.parse()?, None),
        ["serve", port, threads, cert, key] => {
            let tls = TlsAcceptor::from(Arc::new(tls(cert, key)?));
            serve(port.parse()?, threads.parse()?, Some(&tls))
        }
        ["logins", appid, users, keys, file] => {
            write_logins(appid, users.parse()?, keys.parse()?, file)
        }
        ["decrypt", appid, file, rounds] => time_decryption(appid, file, rounds.parse()?),
        _ => Err("see the top of bench_wechat.rs".into()),
    }
}

fn openid(user: u32) -> String {
    format!("oBench{user:022}")
}

/// The same for the same two numbers, in every process.
fn session_key(user: u32, key: u32) -> Secret {
    let digest = Sha256::digest(format!("{user} {key}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    open_data::session_key_text(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the time WeChat would write")]
fn write_logins(appid: &str, users: u32, keys: u32, file: &str) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut text = String::new();
    for key in 0..keys {
        for user in 0..users {
            let openid = openid(user);
            // The fields of wx.getUserInfo in their order.
            let plain = json!({
                "openId": openid,
                "nickName": format!("用户{user}"),
                "gender": 1,
                "language": "zh_CN",
                "city": "Guangzhou",
                "province": "Guangdong",
                "country": "CN",
                "avatarUrl": format!("https://wx.qlogo.example/mmopen/vi_32/aSKcBBPpibyKNicHNTMM0qJVh8Kjgiak2AHWr8MHM4WgMEm7GFhsf8OYrySdbvAMvTsw3mo8ibKicsnfN5pRjl1p8HQ/{user}/0"),
                "unionId": format!("oUnion{user:022}"),
                "watermark": {"timestamp": now, "appid": appid},
            });
            let seed = Sha256::digest(format!("iv {user} {key}"));
            let mut iv = [0; 16];
            iv.copy_from_slice(&seed[..16]);
            let data = open_data::encrypt(&session_key(user, key), &plain.to_string(), iv)?;
            let iv = open_data::iv_text(iv);
            writeln!(text, "{openid}\tu{user:06}k{key:02}-{{n}}\t{data}\t{iv}")?;
        }
    }
    Ok(fs::write(file, text)?)
}

#[expect(clippy::print_stdout, reason = "xtask reads it")]
fn time_decryption(appid: &str, file: &str, rounds: u32) -> Result<(), Failure> {
    let text = fs::read_to_string(file)?;
    let all: Vec<(Secret, &str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').skip(1);
            let (user, key) = named(fields.next()?)?;
            Some((session_key(user, key), fields.next()?, fields.next()?))
        })
        .collect();
    for _ in 0..rounds {
        let began = Instant::now();
        for (key, data, iv) in &all {
            black_box(open_data::open(appid, key, data, Some(iv))?);
        }
        println!("{}", began.elapsed().as_nanos() / all.len() as u128);
    }
    Ok(())
}

/// User and key of a code.
fn named(code: &str) -> Option<(u32, u32)> {
    let user = code.strip_prefix('u')?.get(..6)?.parse().ok()?;
    let key = code.get(8..10)?.parse().ok()?;
    Some((user, key))
}

fn tls(cert: &str, key: &str) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn serve(port: u16, threads: usize, tls: Option<&TlsAcceptor>) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut lanes: Vec<UnboundedSender<TcpStream>> = Vec::new();
    for _ in 0..threads.clamp(1, 64) {
        let (lane, dealt) = unbounded_channel();
        let tls = tls.cloned();
        thread::spawn(move || run_lane(dealt, tls));
        lanes.push(lane);
    }
    for lane in lanes.iter().cycle() {
        let (tcp, _) = listener.accept()?;
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        lane.send(tcp)?;
    }
    Ok(())
}

fn run_lane(
    mut dealt: UnboundedReceiver<TcpStream>,
    tls: Option<TlsAcceptor>,
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        while let Some(tcp) = dealt.recv().await {
            spawn_local(connection(tcp, tls.clone()));
        }
        Ok(())
    })
}

/// A caller that leaves ends its own connection, and nobody minds.
async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>) -> Result<(), Failure> {
    let tcp = tokio::net::TcpStream::from_std(tcp)?;
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new());
    match tls {
        None => {
            let io = TokioIo::new(tcp);
            server.serve_connection(io, service_fn(answer)).await?;
        }
        Some(tls) => {
            let io = TokioIo::new(tls.accept(tcp).await?);
            server.serve_connection(io, service_fn(answer)).await?;
        }
    }
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let field = |name: &str| {
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        let mut values = fields.filter(|(found, _)| *found == name);
        values.next().map(|(_, value)| value.to_owned())
    };
    let text = match request.uri().path() {
        "/sns/jscode2session" => match field("js_code").as_deref().and_then(named) {
            Some((user, key)) => format!(
                r#"{{"session_key":"{}","openid":"{}","unionid":"oUnion{user:022}"}}"#,
                session_key(user, key).expose(),
                openid(user)
            ),
            None => r#"{"errcode":40029,"errmsg":"invalid code"}"#.to_owned(),
        },
        "/cgi-bin/stable_token" => format!(r#"{{"access_token":"{TOKEN}","expires_in":7200}}"#),
        _ if field("access_token").as_deref() == Some(TOKEN) => {
            r#"{"errcode":0,"errmsg":"ok","result":{"suggest":"pass","label":100},"trace_id":"60ae120f-371d5872-7941a05b"}"#.to_owned()
        }
        _ => r#"{"errcode":40001,"errmsg":"invalid credential"}"#.to_owned(),
    };
    // Read to its end, so that the connection can be used again.
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    // As WeChat labels its JSON.
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
