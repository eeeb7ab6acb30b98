//! The tunnel as a WebSocket server, byte by byte: the situations of the Autobahn test suite
//! (its numbers are the cases' names), told anew for a server that echoes no text. Text
//! reaches the business server instead; binary messages are refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weappd_base::fair_timer::FairTimer;

use crate::live_tests::{path_of, raw};
use crate::world::{TestWorld, soon};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// No mask at all would hide a fault in unmasking.
const MASK: [u8; 4] = [0xa5, 0x01, 0xfe, 0x7b];

/// How long the connection may stay when all is said: less than the two seconds for which
/// weappd waits for a phone's last words.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// A frame as a phone sends it; `first` is the first byte.
fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).expect("short")),
        len @ 126..0x1_0000 => {
            frame.push(0xfe);
            frame.extend_from_slice(&u16::try_from(len).expect("middle").to_be_bytes());
        }
        len => {
            frame.push(0xff);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole message or control frame.
fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw_frame(FIN | opcode, payload.as_ref())
}

/// A frame that is not the last of its message.
fn more(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw_frame(opcode, payload.as_ref())
}

fn said(content: &str) -> Vec<u8> {
    whole(TEXT, format!("message:{content}"))
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    whole(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// Payload cut into a message of fragments of `size` bytes.
fn fragments(payload: &[u8], size: usize) -> Vec<u8> {
    let count = payload.chunks(size).count();
    let pieces = payload.chunks(size).enumerate().map(|(at, piece)| {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        if at + 1 == count {
            whole(opcode, piece)
        } else {
            more(opcode, piece)
        }
    });
    pieces.collect::<Vec<_>>().concat()
}

/// What a phone writes, and what must come of it.
struct Case {
    name: String,
    writes: Vec<u8>,
    /// Bytes of one write.
    chop: usize,
    /// Payloads of pongs, in order.
    pongs: Vec<Vec<u8>>,
    /// What the business server hears.
    heard: Vec<String>,
    /// The number in weappd's close frame.
    code: u16,
}

/// A case by its number and what the phone writes: without more words it is left open, and
/// the phone closes it with 1000.
fn case(name: &str, writes: &[Vec<u8>]) -> Case {
    Case {
        name: name.to_owned(),
        writes: writes.concat(),
        chop: usize::MAX,
        pongs: Vec::new(),
        heard: Vec::new(),
        code: 0,
    }
}

impl Case {
    fn pongs(mut self, payloads: &[&[u8]]) -> Self {
        self.pongs = payloads.iter().map(|payload| payload.to_vec()).collect();
        self
    }

    fn heard(mut self, contents: &[&str]) -> Self {
        self.heard = contents.iter().map(|&content| content.to_owned()).collect();
        self
    }

    fn ends(mut self, code: u16) -> Self {
        self.code = code;
        self
    }

    fn chopped(mut self, chop: usize) -> Self {
        self.name = format!("{} by {chop} bytes", self.name);
        self.chop = chop;
        self
    }

    /// The same at once, in pieces and byte by byte.
    fn in_all_pieces(self) -> [Self; 3] {
        let again = |chop| {
            Self {
                name: self.name.clone(),
                writes: self.writes.clone(),
                pongs: self.pongs.clone(),
                heard: self.heard.clone(),
                ..self
            }
            .chopped(chop)
        };
        [again(1), again(5), self]
    }

    async fn holds(mut self, world: &TestWorld) {
        let name = self.name.clone();
        match self.code {
            0 => {
                self.writes.extend(close(1000, "bye"));
                self.code = 1000;
            }
            // No fault of framing: weappd waits for the phone's close frame.
            1003 => self.writes.extend(close(1003, "")),
            _ => {}
        }
        let (id, url) = world.get_wsurl().await;
        let (mut socket, _) = raw(world, &path_of(&url)).await;
        socket.set_nodelay(true).expect("a socket");
        let (read, mut write) = socket.split();
        let write = async {
            for piece in self.writes.chunks(self.chop) {
                // weappd may have closed already.
                if write.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            FairTimer::start()
        };
        let (timer, frames) = tokio::join!(write, frames(read));
        let gone = timer.fair();
        let wanted = self.pongs.iter().map(|payload| (PONG, payload.clone()));
        let pongs: Vec<_> = wanted.collect();
        let [first, middle @ .., (CLOSE, last)] = &frames[..] else {
            panic!("{name}: {frames:?}");
        };
        assert_eq!(first, &(TEXT, b"timeout:15".to_vec()), "{name}");
        assert_eq!(middle, pongs, "{name}");
        let code = last.first_chunk().map(|code| u16::from_be_bytes(*code));
        assert_eq!(code, Some(self.code), "{name}");
        assert!(gone < AT_ONCE, "{name}: TCP stays {gone:?}");
        let is_closed =
            |got: &crate::world::ReceivedCallback| got.tunnel == id && got.kind == "close";
        let all = world.business.hears(|all| all.iter().any(is_closed)).await;
        let of_this = all.into_iter().filter(|got| got.tunnel == id);
        let heard: Vec<String> = of_this.filter_map(|got| got.content).collect();
        assert!(heard == self.heard, "{name}: {} heard", heard.len());
    }
}

/// All frames up to the end of the connection.
async fn frames(mut read: tokio::net::tcp::ReadHalf<'_>) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    let all = async {
        while let Ok(first) = read.read_u8().await {
            assert_eq!(first & 0xf0, FIN, "whole frames, no reserved bits");
            let length = read.read_u8().await.expect("a length");
            assert!(length < 126, "short and unmasked");
            let mut payload = vec![0; usize::from(length)];
            read.read_exact(&mut payload).await.expect("a payload");
            frames.push((first & 0x0f, payload));
        }
    };
    soon(all).await;
    frames
}

async fn hold(world: TestWorld, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        case.holds(&world).await;
    }
    world.end().await;
}

/// A world that takes long messages.
fn world() -> TestWorld {
    TestWorld::with(|config| config.max_message_bytes = 1 << 20)
}

#[tokio::test]
async fn framing_of_every_length() {
    let mut cases = vec![
        case("1.1.1", &[whole(TEXT, "")]),
        case("1.2.1", &[whole(BINARY, "")]).ends(1003),
        case("1.2.2", &[whole(BINARY, [0xfe; 125])]).ends(1003),
        case("1.2.6", &[whole(BINARY, [0xfe; 65536])]).ends(1003),
        case("1.2.8", &[more(BINARY, "a"), whole(CONTINUATION, "b")]).ends(1003),
    ];
    // The length of the whole payload, `message:` included.
    for (number, length) in [
        (2, 125),
        (3, 126),
        (4, 127),
        (5, 128),
        (6, 65535),
        (7, 65536),
    ] {
        let content = "*".repeat(length - "message:".len());
        let make = || case(&format!("1.1.{number}"), &[said(&content)]).heard(&[&content]);
        cases.extend([make(), make().chopped(997)]);
    }
    hold(world(), cases).await;
}

#[tokio::test]
async fn pings_and_pongs() {
    let ten: Vec<String> = (0..10).map(|n| format!("payload-{n}")).collect();
    let pings: Vec<Vec<u8>> = ten.iter().map(|payload| whole(PING, payload)).collect();
    let payloads: Vec<&[u8]> = ten.iter().map(String::as_bytes).collect();
    let cases = [
        case("2.1", &[whole(PING, "")]).pongs(&[b""]),
        case("2.2", &[whole(PING, "Hello, world!")]).pongs(&[b"Hello, world!"]),
        case("2.3", &[whole(PING, b"\x00\xff\xfe\xfd")]).pongs(&[b"\x00\xff\xfe\xfd"]),
        case("2.4", &[whole(PING, [0xfe; 125])]).pongs(&[&[0xfe; 125]]),
        case("2.5", &[whole(PING, [0xfe; 126])]).ends(1002),
        case("2.7", &[whole(PONG, "")]),
        case("2.8", &[whole(PONG, "unsolicited")]),
        case("2.9", &[whole(PONG, "unsolicited"), whole(PING, "ping")]).pongs(&[b"ping"]),
        case("2.10 and 2.11", &pings).pongs(&payloads),
    ];
    let cases = cases.into_iter().flat_map(Case::in_all_pieces);
    hold(world(), cases).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes() {
    let mut cases = vec![
        case("3.1", &[raw_frame(FIN | 0x10 | TEXT, b"message:x")]).ends(1002),
        case(
            "3.2",
            &[
                said("x"),
                raw_frame(FIN | 0x20 | TEXT, b"y"),
                whole(PING, ""),
            ],
        )
        .heard(&["x"])
        .ends(1002),
        // Compressed, though nobody agreed on that (12.1.1).
        case("3.5", &[raw_frame(FIN | 0x40 | BINARY, b"x")]).ends(1002),
        case("3.6", &[raw_frame(FIN | 0x60 | PING, b"x")]).ends(1002),
        case("3.7", &[raw_frame(FIN | 0x70 | CLOSE, b"")]).ends(1002),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let name = format!("4: opcode {opcode}");
        cases.push(case(&name, &[whole(opcode, "")]).ends(1002));
        let after = [said("x"), whole(opcode, "y"), whole(PING, "")];
        cases.push(case(&name, &after).heard(&["x"]).ends(1002));
    }
    let cases = cases.into_iter().flat_map(Case::in_all_pieces);
    hold(world(), cases).await;
}

#[tokio::test]
async fn fragments_of_messages() {
    let begin = || more(TEXT, "message:one");
    let end = || whole(CONTINUATION, "two");
    let ping = || whole(PING, "ping");
    let lost = || whole(CONTINUATION, "non-continuation payload");
    let cases = [
        case("5.1", &[more(PING, "a"), whole(CONTINUATION, "b")]).ends(1002),
        case("5.2", &[more(PONG, "a"), whole(CONTINUATION, "b")]).ends(1002),
        case("5.3 to 5.5", &[begin(), end()]).heard(&["onetwo"]),
        case("5.6 to 5.8", &[begin(), ping(), end()])
            .heard(&["onetwo"])
            .pongs(&[b"ping"]),
        case("5.9 to 5.11", &[lost(), said("Hello")]).ends(1002),
        case("5.12 to 5.14", &[more(CONTINUATION, "x"), said("Hello")]).ends(1002),
        case(
            "5.15",
            &[begin(), end(), more(CONTINUATION, "x"), said("y")],
        )
        .heard(&["onetwo"])
        .ends(1002),
        case("5.16", &[more(CONTINUATION, "x"), said("y"), end()]).ends(1002),
        case("5.17", &[lost(), said("y"), end()]).ends(1002),
        case("5.18", &[begin(), whole(TEXT, "two")]).ends(1002),
        case(
            "5.19 and 5.20",
            &[
                begin(),
                more(CONTINUATION, "1"),
                whole(PING, "pongme 1!"),
                more(CONTINUATION, "2"),
                more(CONTINUATION, ""),
                whole(PING, "pongme 2!"),
                end(),
            ],
        )
        .heard(&["one12two"])
        .pongs(&[b"pongme 1!", b"pongme 2!"]),
        // A close in the middle ends it all.
        case("7.1.5", &[begin(), close(1000, ""), end()]).ends(1000),
    ];
    let cases = cases.into_iter().flat_map(Case::in_all_pieces);
    hold(world(), cases).await;
}

/// A text of `message:` and these bytes: whole, in two frames, and a byte in each.
fn utf8(name: &str, bytes: &[u8], is_text: bool) -> Vec<Case> {
    let payload = [b"message:", bytes].concat();
    let content = String::from_utf8_lossy(bytes);
    let sizes = [payload.len(), payload.len() / 2 + 1, 1];
    let case_of = |size| {
        let case = case(&format!("{name} in {size}"), &[fragments(&payload, size)]);
        if is_text {
            case.heard(&[&content])
        } else {
            case.ends(1007)
        }
    };
    sizes.map(case_of).into()
}

#[tokio::test]
async fn text_is_utf8() {
    let mut cases = vec![
        case(
            "6.1.2",
            &[
                more(TEXT, ""),
                more(CONTINUATION, ""),
                whole(CONTINUATION, ""),
            ],
        ),
        case(
            "6.1.3",
            &[
                more(TEXT, ""),
                more(CONTINUATION, "message:x"),
                whole(CONTINUATION, ""),
            ],
        )
        .heard(&["x"]),
        // What follows a broken text is not heard.
        case("6.3", &[whole(TEXT, b"message:\xff"), said("late")]).ends(1007),
    ];
    let good: [(&str, &[u8]); 14] = [
        ("6.2", "Hello-µ@ßöäüàá-UTF-8!!".as_bytes()),
        ("6.5", "κόσμε".as_bytes()),
        ("6.6", "你好🀄".as_bytes()),
        ("6.7.1", b"\x00"),
        ("6.7.2", b"\xc2\x80"),
        ("6.7.3", b"\xe0\xa0\x80"),
        ("6.7.4", b"\xf0\x90\x80\x80"),
        ("6.9.1", b"\x7f"),
        ("6.9.2", b"\xdf\xbf"),
        ("6.9.3", b"\xef\xbf\xbf"),
        ("6.9.4", b"\xf4\x8f\xbf\xbf"),
        ("6.11", b"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd"),
        ("6.22.1", b"\xef\xbf\xbe"),
        ("6.23.1", b"\xef\xbf\xb9\xf0\x9f\xbf\xbe"),
    ];
    let bad: [(&str, &[u8]); 22] = [
        ("6.3.1", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited"),
        ("6.4.1", b"\xce\xba\xf4\x90\x80\x80edited"),
        ("6.6.2", b"\xce"),
        ("6.6.6", b"\xce\xba\xe1\xbd"),
        ("6.8.1", b"\xf8\x88\x80\x80\x80"),
        ("6.8.2", b"\xfc\x84\x80\x80\x80\x80"),
        ("6.10.1", b"\xf7\xbf\xbf\xbf"),
        ("6.10.2", b"\xfb\xbf\xbf\xbf\xbf"),
        ("6.11.5", b"\xf4\x90\x80\x80"),
        ("6.12.1", b"\x80"),
        ("6.12.3", b"\x80\xbf\x80\xbf\x80"),
        ("6.13.1", b"\xc0 \xc1 "),
        ("6.14.1", b"\xc0"),
        ("6.15.1", b"\xc0\xe0\x80\xf0\x80\x80"),
        ("6.16.1", b"\xfe"),
        ("6.16.2", b"\xff"),
        ("6.17.1", b"\xc0\xaf"),
        ("6.17.2", b"\xe0\x80\xaf"),
        ("6.18.1", b"\xc1\xbf"),
        ("6.19.1", b"\xc0\x80"),
        ("6.20.1", b"\xed\xa0\x80"),
        ("6.21.1", b"\xed\xa0\x80\xed\xb0\x80"),
    ];
    cases.extend(
        good.iter()
            .flat_map(|(name, bytes)| utf8(name, bytes, true)),
    );
    cases.extend(
        bad.iter()
            .flat_map(|(name, bytes)| utf8(name, bytes, false)),
    );
    hold(world(), cases).await;
}

#[tokio::test]
async fn closing() {
    let long = "*".repeat(256 * 1024);
    let mut cases = vec![
        case("7.1.1", &[said("x")]).heard(&["x"]),
        case("7.1.2", &[close(1000, ""), close(1000, "")]).ends(1000),
        case("7.1.3", &[close(1000, ""), whole(PING, "late")]).ends(1000),
        case("7.1.4", &[close(1000, ""), said("late")]).ends(1000),
        case("7.1.6", &[said(&long), close(1000, ""), whole(PING, "")])
            .heard(&[&long])
            .ends(1000),
        case("7.3.1", &[whole(CLOSE, "")]).ends(1000),
        case("7.3.2", &[whole(CLOSE, "a")]).ends(1002),
        case("7.3.4", &[close(1000, "Hello")]).ends(1000),
        case("7.3.5", &[close(1000, [b'*'; 123])]).ends(1000),
        case("7.3.6", &[close(1000, [b'*'; 124])]).ends(1002),
        case("7.5.1", &[close(1000, b"\xce\xba\xed\xa0\x80")]).ends(1007),
        // Rules broken after the phone's own close, and before it.
        case(
            "a violation after a close",
            &[close(1000, ""), b"GET / HTTP".to_vec()],
        )
        .ends(1000),
        case(
            "a close after a violation",
            &[raw_frame(0xff, b""), close(1000, "")],
        )
        .ends(1002),
        case("nothing after a violation", &[raw_frame(0xff, b"")]).ends(1002),
        case("a close without a mask", &[vec![0x88, 0]]).ends(1002),
        // The same after the packet `close`, which weappd answers with a close frame.
        case("packet, close", &[whole(TEXT, "close"), close(1000, "")]).ends(1000),
        case(
            "packet, ping, close",
            &[whole(TEXT, "close"), whole(PING, "late"), close(1000, "")],
        )
        .ends(1000),
        case(
            "packet, violation",
            &[whole(TEXT, "close"), raw_frame(0xff, b"")],
        )
        .ends(1000),
    ];
    for code in (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3999, 4000, 4999])
    {
        cases.push(case(&format!("7.7: {code}"), &[close(code, "")]).ends(code));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        cases.push(case(&format!("7.9: {code}"), &[close(code, "")]).ends(1002));
    }
    let (long, short): (Vec<_>, Vec<_>) = cases.into_iter().partition(|it| it.writes.len() > 4096);
    let short = short.into_iter().flat_map(Case::in_all_pieces);
    hold(world(), short.chain(long)).await;
}

#[tokio::test]
async fn long_messages() {
    let mut cases = Vec::new();
    for length in [64 * 1024, 256 * 1024] {
        let content = "*".repeat(length);
        let payload = format!("message:{content}");
        for size in [64, 1300, 4096, 65536, length + 8] {
            let name = format!("9.3 and 10.1: {length} in {size}");
            let case = case(&name, &[fragments(payload.as_bytes(), size)]);
            cases.push(case.heard(&[&content]));
        }
        for chop in [64, 1024, 2048] {
            let case = case(&format!("9.5: {length}"), &[said(&content)]);
            cases.push(case.heard(&[&content]).chopped(chop));
        }
    }
    let many: Vec<String> = (0..1000).map(|n| format!("{n:064}")).collect();
    let says: Vec<Vec<u8>> = many.iter().map(|content| said(content)).collect();
    let heard: Vec<&str> = many.iter().map(String::as_str).collect();
    cases.push(case("9.7", &says).heard(&heard));
    hold(world(), cases).await;
}

#[tokio::test]
async fn messages_longer_than_allowed() {
    let most = 32 * 1024;
    let content = |length: usize| "*".repeat(length);
    let whole_of = |length| said(&content(length));
    let pieces_of = |length| fragments(format!("message:{}", content(length)).as_bytes(), 1000);
    let fits = content(most);
    let cases = [
        case("fits", &[whole_of(most)]).heard(&[&fits]),
        case("fits in pieces", &[pieces_of(most)]).heard(&[&fits]),
        case("a byte more", &[whole_of(most + 1)]).ends(1009),
        case("a byte more in pieces", &[pieces_of(most + 1)]).ends(1009),
        case("much more", &[whole_of(16 << 20)]).ends(1009),
    ];
    hold(TestWorld::new(), cases).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_with_the_latest() {
    let world = TestWorld::new();
    let (_, url) = world.get_wsurl().await;
    let (mut socket, _): (TcpStream, _) = raw(&world, &path_of(&url)).await;
    let pings: Vec<Vec<u8>> = (0..5000).map(|n| whole(PING, format!("{n:08}"))).collect();
    let (read, mut write) = socket.split();
    let writes = [pings.concat(), close(1000, "")].concat();
    let write = async { write.write_all(&writes).await.expect("open") };
    let ((), frames) = tokio::join!(write, frames(read));
    let answers: Vec<&Vec<u8>> = frames[1..frames.len() - 1]
        .iter()
        .map(|(_, it)| it)
        .collect();
    assert!(answers.is_sorted(), "in order");
    assert_eq!(answers.last().map(|it| &it[..]), Some(&b"00004999"[..]));
    world.end().await;
}
