//! TLS: records however they are cut or damaged, and certificate files however they were
//! copied.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ClientConnection;
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, RootCertStore};

use super::feed::Feed;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::records::{RecordPass, take_records};
use crate::tls::settings;
use weappd_base::unix_time::UnixSecs;
use weappd_certs::{CertFiles, CertTable, load};

const HOST: &str = "www.example.com";

/// What is made once a thread: a certificate, its files and both ends' settings.
struct Workshop {
    cert: String,
    key: String,
    files: CertFiles,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Workshop {
    fn new() -> Self {
        let pair = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
        let cert = params.self_signed(&pair).expect("a certificate");
        let dir = PathBuf::from(format!("/dev/shm/weappd-fuzz-{}", std::process::id()));
        let thread = format!("{:?}", std::thread::current().id());
        let dir = dir.join(thread.replace(['(', ')'], ""));
        std::fs::create_dir_all(&dir).expect("a directory in memory");
        let files = CertFiles {
            cert: dir.join("cert"),
            key: dir.join("key"),
        };
        let (text, key) = (cert.pem(), pair.serialize_pem());
        std::fs::write(&files.cert, &text).expect("a file");
        std::fs::write(&files.key, &key).expect("a file");
        let loaded =
            load(&files, &[HOST.to_owned()], UnixSecs::new(1_800_000_000)).expect("good files");
        let mut table = CertTable::default();
        table.add(HOST, &loaded.key);
        let resolver = CertResolver::new(Arc::new(table));
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            cert: text,
            key,
            files,
            server: settings::settings(
                Arc::new(resolver),
                settings::ticketer().expect("a ticketer"),
                true,
            )
            .expect("settings"),
            client: Arc::new(client),
        }
    }
}

thread_local! {
    static SHOP: Workshop = Workshop::new();
}

/// Our end: bytes come in, bytes go out, plaintext is kept.
struct End {
    conn: UnbufferedServerConnection,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    plain: Vec<u8>,
    is_open: bool,
}

impl End {
    fn new(shop: &Workshop) -> Self {
        Self {
            conn: UnbufferedServerConnection::new(Arc::clone(&shop.server)).expect("a server"),
            inbox: Vec::new(),
            outbox: Vec::new(),
            plain: Vec::new(),
            is_open: false,
        }
    }

    /// Takes what came; says whether the connection may go on.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        self.inbox.extend_from_slice(bytes);
        let (mut used, mut peer_closed) = (0, false);
        let plain = &mut self.plain;
        let pass = take_records(
            &mut self.conn,
            &mut self.inbox,
            &mut used,
            &mut self.outbox,
            &mut peer_closed,
            &mut |bytes| plain.extend_from_slice(bytes),
        );
        assert!(used <= self.inbox.len());
        drop(self.inbox.drain(..used));
        if pass.is_err() {
            return false;
        }
        self.is_open |= matches!(pass, Ok(RecordPass::Open));
        !peer_closed
    }

    fn say(&mut self, text: &[u8]) {
        let UnbufferedStatus { state, .. } = self.conn.process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let mut room = vec![0; text.len() + 1024];
            let count = traffic.encrypt(text, &mut room).expect("there is room");
            self.outbox.extend_from_slice(&room[..count]);
        }
    }
}

/// Records and certificate files.
pub(super) fn records_and_files(data: &[u8]) {
    let mut feed = Feed::new(data);
    SHOP.with(|shop| match feed.below(4) {
        0 => raw(shop, feed.field(), feed.rest()),
        1 | 2 => talk(shop, &mut feed),
        _ => files(shop, &mut feed),
    });
}

/// Whatever comes: an end that is not open hands out nothing, and cuts do not matter.
fn raw(shop: &Workshop, cuts: &[u8], bytes: &[u8]) {
    let mut whole = End::new(shop);
    let goes_on = whole.hear(bytes);
    assert!(!whole.is_open && whole.plain.is_empty());
    assert!(whole.inbox.len() <= bytes.len() && whole.outbox.len() < 64 * 1024);
    let mut pieces = End::new(shop);
    let mut rest = bytes;
    let mut turn = 0;
    let mut still = true;
    while still && !rest.is_empty() {
        let cut = cuts
            .get(turn % cuts.len().max(1))
            .map_or(1, |cut| usize::from(*cut) + 1);
        let (now, later) = rest.split_at(cut.min(rest.len()));
        (rest, turn) = (later, turn + 1);
        still = pieces.hear(now);
    }
    assert_eq!(still, goes_on);
    assert_eq!(pieces.outbox.is_empty(), whole.outbox.is_empty());
}

/// A real client on the other side; its bytes are cut as `cuts` says, and perhaps one of
/// them is damaged: then nothing false is ever taken for the client's words.
fn talk(shop: &Workshop, feed: &mut Feed<'_>) {
    let (cuts, damage, text) = (feed.field(), feed.field(), feed.field());
    let name = HOST.try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&shop.client), name).expect("a client");
    let mut server = End::new(shop);
    let spoilt = match damage {
        [high, low, bits, ..] => Some((usize::from(*high) * 256 + usize::from(*low), bits | 1)),
        _ => None,
    };
    let (mut sent, mut turn, mut is_spoilt, mut said) = (0, 0, false, false);
    for _ in 0..40 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("into memory");
        }
        if let Some((at, bits)) = spoilt
            && let Some(byte) = at.checked_sub(sent).and_then(|at| wire.get_mut(at))
        {
            *byte ^= bits;
            is_spoilt = true;
        }
        sent += wire.len();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let cut = cuts
                .get(turn % cuts.len().max(1))
                .map_or(rest.len(), |cut| usize::from(*cut) + 1);
            turn += 1;
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            if !server.hear(now) {
                assert!(is_spoilt, "an honest client was turned away");
                assert!(text.starts_with(&server.plain));
                return;
            }
        }
        if server.is_open && !said {
            said = true;
            server.say(b"hello");
        }
        let out = std::mem::take(&mut server.outbox);
        let mut out = &out[..];
        while !out.is_empty() {
            client.read_tls(&mut out).expect("from memory");
            if client.process_new_packets().is_err() {
                assert!(is_spoilt, "our own bytes were not understood");
                return;
            }
        }
        if !client.is_handshaking() && sent < 1 << 20 {
            use std::io::Write as _;
            sent += 1 << 20;
            client.writer().write_all(text).expect("there is room");
        } else if server.is_open && !client.wants_write() {
            break;
        }
    }
    assert!(text.starts_with(&server.plain));
    if !is_spoilt {
        assert!(server.is_open && server.plain == text && said);
    }
}

/// Files as people copy them: with another order, line ends, pieces missing.
fn files(shop: &Workshop, feed: &mut Feed<'_>) {
    let mut texts = [shop.cert.clone(), shop.key.clone()];
    let mut is_whole = true;
    for _ in 0..6 {
        if feed.is_empty() {
            break;
        }
        let at = feed.below(2);
        let way = feed.below(8);
        let place = usize::from(feed.byte());
        let given = feed.text();
        let text = &mut texts[at];
        let place = text.floor_char_boundary(place * 4);
        match way {
            0 => text.insert(0, '\u{feff}'),
            1 => *text = text.replace("\r\n", "\n").replace('\n', "\r\n"),
            2 => {
                is_whole = false;
                text.truncate(place);
            }
            3 => {
                is_whole = false;
                text.insert_str(place, &given);
            }
            4 => {
                is_whole = false;
                texts.swap(0, 1);
            }
            5 => text.insert_str(0, &"\n".repeat(place % 5)),
            6 => {
                is_whole = false;
                *text = given;
            }
            _ => {
                is_whole = false;
                let again = text.clone();
                text.push_str(&again);
            }
        }
    }
    is_whole &= texts
        .iter()
        .all(|text| text.matches('\u{feff}').count() <= 1);
    is_whole &= texts
        .iter()
        .all(|text| text.starts_with(['\u{feff}', '-', '\n', '\r']));
    std::fs::write(&shop.files.cert, &texts[0]).expect("a file");
    std::fs::write(&shop.files.key, &texts[1]).expect("a file");
    match load(
        &shop.files,
        &[HOST.to_owned(), "other.example.com".to_owned()],
        UnixSecs::new(1_800_000_000),
    ) {
        Ok(loaded) => {
            assert!(loaded.key.keys_match().is_ok());
            let names =
                |warning: &weappd_certs::CertWarning| warning.what.contains("other.example.com");
            assert!(loaded.warnings.iter().any(names));
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            let mut lines = shop.key.lines().filter(|line| !line.starts_with("-----"));
            assert!(!lines.any(|line| shown.contains(line)), "{shown}");
            let misplaced = texts.iter().any(|text| {
                text.trim_start_matches(['\r', '\n'])
                    .starts_with('\u{feff}')
                    && text.starts_with(['\r', '\n'])
            });
            assert!(!is_whole || misplaced, "{error}");
        }
    }
}
