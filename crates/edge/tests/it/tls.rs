//! TLS: versions, protocols, names and the files that vendors issue.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weappd_base::clock::Clock;
use weappd_base::tasks::Tasks;
use weappd_base::unix_time::UnixSecs;
use weappd_certs::{CertFiles, CertSeverity, check_certificate};
use x509_parser::der_parser::der::parse_der;

use crate::world::{
    Answer, Authority, Plan, World, ask, ask_over, echo, proxy_to, read, route, serve, site,
};

pub(crate) async fn connect(
    world: &World,
    authority: &Authority,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(world.https).await?;
    connect_over(tcp, authority, name, versions, alpn).await
}

pub(crate) async fn connect_over(
    tcp: TcpStream,
    authority: &Authority,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.cert.der().clone()).expect("added");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

async fn get(world: &World, authority: &Authority, name: &str) -> std::io::Result<Answer> {
    let tls = connect(world, authority, name, rustls::ALL_VERSIONS, &["http/1.1"]).await?;
    Ok(ask_over(tls, "GET", "/", &[("host", name)], "").await)
}

fn door(files: CertFiles) -> World {
    Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .tls(files)
        .open()
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken() {
    let authority = Authority::new();
    let world = door(authority.files("a", &["a.example"]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for alpn in [&["http/1.1"][..], &[]] {
            let tls = connect(&world, &authority, "a.example", &[version], alpn).await;
            let tls = tls.expect("shaken hands");
            let answer = ask_over(tls, "GET", "/", &[("host", "a.example")], "").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.seen("x-forwarded-proto"), ["https"]);
        }
        let tls = connect(
            &world,
            &authority,
            "a.example",
            &[version],
            &["h2", "http/1.1"],
        )
        .await;
        let tls = tls.expect("shaken hands");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .expect("a client");
        Tasks::new().spawn(async { drop(connection.await) });
        for round in 0..3 {
            let request = http::Request::post("https://a.example/x//y?z=1")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("x-wx-skey", "alice")
                .body(Full::new(Bytes::from(format!("round {round}"))))
                .expect("a request");
            let answer = read(sender.send_request(request).await.expect("an answer")).await;
            assert!(
                answer.text().starts_with("POST /x/y?z=1\n"),
                "{}",
                answer.text()
            );
            assert_eq!(answer.seen("host"), ["a.example"]);
            assert_eq!(answer.seen("cookie"), ["a=1; b=2"]);
            assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
            assert!(answer.text().ends_with(&format!("round {round}")));
        }
    }
    world.closed().await;
}

#[tokio::test]
async fn http2_requests_share_a_connection_and_survive_a_stop() {
    let authority = Authority::new();
    let slow = axum::Router::new().fallback(|| async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        "done"
    });
    let world = Plan::new(vec![route("/", proxy_to(serve(slow)))])
        .tls(authority.files("a", &["a.example"]))
        .open();
    let tls = connect(
        &world,
        &authority,
        "a.example",
        rustls::ALL_VERSIONS,
        &["h2"],
    )
    .await;
    let (sender, connection) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(tls.expect("shaken hands")),
    )
    .await
    .expect("a client");
    Tasks::new().spawn(async { drop(connection.await) });
    let asking = (0..10).map(|_| {
        let mut sender = sender.clone();
        async move {
            let request = http::Request::get("https://a.example/")
                .body(Full::new(Bytes::new()))
                .expect("a request");
            read(sender.send_request(request).await.expect("an answer")).await
        }
    });
    let stopping = async {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        world.stop.ask();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asking), stopping);
    assert!(answers.iter().all(|a| a.text() == "done"));
    drop(sender);
    world.closed().await;
}

#[tokio::test]
async fn a_connection_without_a_request_does_not_hold_up_a_stop() {
    let authority = Authority::new();
    let world = door(authority.files("a", &["a.example"]));
    let tls = connect(&world, &authority, "a.example", rustls::ALL_VERSIONS, &[]).await;
    let mut tls = tls.expect("shaken hands");
    world.stop.ask();
    let mut buf = [0; 16];
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), tls.read(&mut buf)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    world.closed().await;
}

#[tokio::test]
async fn each_name_gets_its_certificate_and_no_other_site() {
    let authority = Authority::new();
    let app = serve(echo());
    let mut a = site(
        &["a.example", "www.a.example"],
        vec![route("/", proxy_to(app))],
    );
    a.tls = Some(authority.files("a", &["a.example", "www.a.example"]));
    let mut b = site(&["*.b.example"], vec![route("/", proxy_to(app))]);
    b.tls = Some(authority.files("b", &["*.b.example"]));
    let c = site(&["c.example"], vec![route("/", proxy_to(app))]);
    let mut plan = Plan::new(vec![]);
    plan.sites = vec![a, b, c];
    let world = plan.open();
    for name in ["a.example", "www.a.example", "x.b.example"] {
        assert_eq!(
            get(&world, &authority, name).await.expect("served").status,
            200,
            "{name}"
        );
    }
    // The first site's certificate answers unknown names, and the client refuses it.
    assert!(get(&world, &authority, "other.example").await.is_err());
    for (sni, host, status) in [
        ("a.example", "www.a.example", 200),
        ("a.example", "x.b.example", 421),
        ("x.b.example", "a.example", 421),
        ("a.example", "c.example", 421),
        ("a.example", "other.example", 421),
    ] {
        let tls = connect(&world, &authority, sni, rustls::ALL_VERSIONS, &[]).await;
        let answer = ask_over(
            tls.expect("shaken hands"),
            "GET",
            "/",
            &[("host", host)],
            "",
        )
        .await;
        assert_eq!(answer.status, status, "{sni} {host}");
    }
    // A site without a certificate is there over plain HTTP.
    let clear = ask(world.http, "GET", "/", &[("host", "c.example")], "").await;
    assert_eq!(clear.status, 200);
    world.closed().await;
}

#[tokio::test]
async fn a_reload_changes_the_certificate() {
    let authority = Authority::new();
    let world = door(authority.files("a", &["a.example"]));
    assert!(get(&world, &authority, "b.example").await.is_err());
    let mut fresh = site(&["*"], vec![route("/", proxy_to(serve(echo())))]);
    fresh.tls = Some(authority.files("b", &["b.example"]));
    world
        .reload(world.new_sites(vec![fresh]))
        .expect("reloaded");
    assert_eq!(
        get(&world, &authority, "b.example")
            .await
            .expect("served")
            .status,
        200
    );
    world.closed().await;
}

#[tokio::test]
async fn what_is_no_tls_is_let_go() {
    let authority = Authority::new();
    let world = door(authority.files("a", &["a.example"]));
    let mut tcp = TcpStream::connect(world.https).await.expect("connected");
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut all = Vec::new();
    let ended = tokio::time::timeout(crate::world::PATIENCE, tcp.read_to_end(&mut all)).await;
    assert!(ended.is_ok());
    world.closed().await;
}

/// A `ClientHello` whose newest version is `version`, as clients of its day wrote it.
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    // No session, two suites of that time, no compression; no extensions.
    hello.extend([0, 0, 4, 0xC0, 0x13, 0x00, 0x2F, 1, 0]);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn versions_before_1_2_are_refused_and_nobody_else_suffers() {
    let authority = Authority::new();
    let world = door(authority.files("a", &["a.example"]));
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut tcp = TcpStream::connect(world.https).await.expect("connected");
        let sent = tokio::io::AsyncWriteExt::write_all(&mut tcp, &old_hello(version)).await;
        sent.expect("sent");
        let mut all = Vec::new();
        let ended = tokio::time::timeout(crate::world::PATIENCE, tcp.read_to_end(&mut all)).await;
        assert!(ended.is_ok(), "{version:?}");
        // A fatal alert: protocol_version or, before anybody looks at it, handshake_failure.
        let refused = all.ends_with(&[2, 70]) || all.ends_with(&[2, 40]);
        assert!(refused && all.len() == 7 && all[0] == 21, "{all:?}");
    }
    let answer = get(&world, &authority, "a.example")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200);
    world.closed().await;
}

/// The key inside a PKCS#8 envelope: PKCS#1 for RSA, SEC1 for elliptic curves.
fn inner_key(pkcs8: &[u8]) -> Vec<u8> {
    let (_, envelope) = parse_der(pkcs8).expect("DER");
    let fields = envelope.as_sequence().expect("a sequence");
    fields[2].as_slice().expect("an octet string").to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    use std::fmt::Write as _;
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in der.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |all, b| all << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for at in 0..4 {
            if at <= group.len() {
                let index = bits >> (18 - 6 * at) & 63;
                text.push(char::from(LETTERS[usize::try_from(index).expect("small")]));
            } else {
                text.push('=');
            }
        }
    }
    let mut all = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        writeln!(all, "{}", String::from_utf8_lossy(line)).expect("written");
    }
    all + &format!("-----END {label}-----\n")
}

#[tokio::test]
async fn certificate_files_come_in_many_shapes() {
    let authority = Authority::new();
    let ca = authority.cert.pem();
    let (ec_cert, ec_key) = authority.issue(&["a.example"], |_| ());
    let rsa_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("an RSA key");
    let rsa_cert = authority.issue_for(&rsa_key, &["a.example"], |_| ());
    let bundle = ec_cert.clone() + &ca;
    let sec1 = pem("EC PRIVATE KEY", &inner_key(&ec_key.serialize_der()));
    let pkcs1 = pem("RSA PRIVATE KEY", &inner_key(&rsa_key.serialize_der()));
    let params = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let pkcs8 = ec_key.serialize_pem();
    let talk =
        format!("Bag Attributes\n  friendlyName: a\nsubject=CN=a\n{ec_cert}\nissuer=x\n{ca}");
    for (name, cert, key) in [
        ("pkcs8", bundle.clone(), pkcs8.clone()),
        ("sec1", bundle.clone(), sec1.clone()),
        (
            "sec1 with parameters",
            bundle.clone(),
            format!("{params}{sec1}"),
        ),
        ("pkcs1", rsa_cert.clone() + &ca, pkcs1),
        ("rsa pkcs8", rsa_cert + &ca, rsa_key.serialize_pem()),
        (
            "crlf",
            bundle.replace('\n', "\r\n"),
            pkcs8.replace('\n', "\r\n"),
        ),
        (
            "byte-order mark",
            format!("\u{feff}{bundle}"),
            format!("\u{feff}{pkcs8}"),
        ),
        ("text between", talk, format!("Key Attributes\n{pkcs8}")),
        ("root first", ca.clone() + &ec_cert, pkcs8.clone()),
        (
            "all in one",
            format!("{pkcs8}{bundle}"),
            format!("{bundle}{pkcs8}"),
        ),
    ] {
        let files = authority.write("shape", cert, key);
        let warnings = check_certificate(
            &files,
            &["a.example".to_owned()],
            Clock::system().unix_secs(),
        );
        let warnings = warnings.expect(name).into_iter();
        let loud: Vec<_> = warnings
            .filter(|warning| warning.severity == CertSeverity::Warning)
            .map(|warning| warning.what)
            .collect();
        // The test's own authority is no phone's.
        assert_eq!(loud.len(), 1, "{name}: {loud:?}");
        assert!(loud[0].contains("`a test authority`"), "{name}: {loud:?}");
        let world = door(files);
        let answer = get(&world, &authority, "a.example").await.expect(name);
        assert_eq!(answer.status, 200, "{name}");
        world.closed().await;
    }
}

#[test]
fn wrong_files_are_told_apart() {
    let authority = Authority::new();
    let ca = authority.cert.pem();
    let (cert, key) = authority.issue(&["a.example"], |_| ());
    let (_, other) = authority.issue(&["a.example"], |_| ());
    let key = key.serialize_pem();
    let der = CertificateDer::from(authority.cert.der().to_vec()).to_vec();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    let bundle = cert.clone() + &ca;
    let cut = bundle.replace("-----END CERTIFICATE-----", "");
    for (cert, key, file, what) in [
        (
            bundle.as_bytes(),
            other.serialize_pem().into_bytes(),
            ".key",
            "does not belong",
        ),
        (bundle.as_bytes(), encrypted.into(), ".key", "pass phrase"),
        (bundle.as_bytes(), old.into(), ".key", "pass phrase"),
        (
            bundle.as_bytes(),
            bundle.clone().into_bytes(),
            ".key",
            "no private key",
        ),
        (bundle.as_bytes(), Vec::new(), ".key", "no private key"),
        (bundle.as_bytes(), der.clone(), ".key", "DER"),
        (&der, key.clone().into_bytes(), ".crt", "DER"),
        (
            key.as_bytes(),
            key.clone().into_bytes(),
            ".crt",
            "private key and no certificate",
        ),
        (b"", key.clone().into_bytes(), ".crt", "no certificate"),
        (cut.as_bytes(), key.clone().into_bytes(), ".crt", "damaged"),
    ] {
        let files = authority.write("wrong", cert, key);
        let errors = check_certificate(&files, &[], UnixSecs::default()).expect_err(what);
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        let error = &errors[0];
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(file), "{what}: {text}");
        assert!(error.hint().is_some());
    }
    let missing = CertFiles {
        cert: authority.folder.path().join("none.crt"),
        key: authority.folder.path().join("none.key"),
    };
    let errors = check_certificate(&missing, &[], UnixSecs::default()).expect_err("missing");
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "both at once: {told:?}");
    assert!(told[0].contains("none.crt") && told[1].contains("none.key"));
}

#[test]
fn what_clients_refuse_is_warned_of() {
    let authority = Authority::new();
    let now = UnixSecs::new(1_800_000_000);
    let (cert, key) = authority.issue(&["a.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    });
    let files = authority.write("warn", &cert, key.serialize_pem());
    let warn = |host: &str, now| {
        let warnings = check_certificate(&files, &[host.to_owned()], now).expect("usable");
        warnings
            .into_iter()
            .map(|w| w.what)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert!(warn("a.example", now).contains("without the intermediate"));
    assert!(warn("b.example", now).contains("does not cover b.example"));
    assert!(warn("a.example", now + Duration::from_hours(24 * 700)).contains("expired"));
    assert!(warn("a.example", UnixSecs::new(1_830_200_000)).contains("expires in"));
    assert!(warn("a.example", UnixSecs::default()).contains("not valid yet"));
}
