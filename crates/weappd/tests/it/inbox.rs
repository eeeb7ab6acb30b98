//! Messages pushed to a weappd that is killed again and again: what it said `success` to
//! reaches the app, in each user's order, and what was pushed twice is delivered once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_wechat::message::{
    MessageCodec, MessageKey, PushSignature, encrypt, msg_signature, signature,
};

use crate::process::PATIENCE;
use crate::upstream;
use crate::world::{TestWorld, WorldRecipe, text};

/// Takes only what is encrypted.
const LOCKED: &str = "wx00000000000010cd";
/// Has no key.
const OPEN: &str = "wx000000000000abcd";
const TOKEN: &str = "a message token";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
/// How many messages may be on their way to the app at once.
const AT_ONCE: usize = 8;

/// How a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxMode {
    Plain,
    Compatible,
    Safe,
}

/// One push as WeChat makes it.
struct InboxPush {
    name: String,
    path: String,
    body: String,
}

/// Somebody whose messages WeChat pushes, always in one form.
#[derive(Clone, Debug)]
struct InboxWriter {
    openid: String,
    number: u32,
    mode: InboxMode,
    is_xml: bool,
    /// The next letter.
    next: u32,
}

impl InboxWriter {
    fn new(name: &str, number: u32, mode: InboxMode, is_xml: bool) -> Self {
        Self {
            openid: format!("o{name}"),
            number,
            mode,
            is_xml,
            next: 0,
        }
    }

    fn appid(&self) -> &'static str {
        match self.mode {
            InboxMode::Plain => OPEN,
            _ => LOCKED,
        }
    }

    /// Every second one is an event, which has no `MsgId`.
    fn letter(&self, number: u32) -> InboxPush {
        let name = format!("{} {number}", self.openid);
        let at = 1_700_000_000 + number;
        let id = u64::from(self.number) * 1_000_000 + u64::from(number);
        let is_event = number % 2 == 1;
        let message = match (self.is_xml, is_event) {
            (true, true) => format!(
                "<xml><ToUserName><![CDATA[gh_1]]></ToUserName>\
                 <FromUserName><![CDATA[{}]]></FromUserName><CreateTime>{at}</CreateTime>\
                 <MsgType><![CDATA[event]]></MsgType><Event><![CDATA[a]]></Event>\
                 <Name><![CDATA[{name}]]></Name></xml>",
                self.openid
            ),
            (true, false) => format!(
                "<xml><ToUserName><![CDATA[gh_1]]></ToUserName>\
                 <FromUserName><![CDATA[{}]]></FromUserName><CreateTime>{at}</CreateTime>\
                 <MsgType><![CDATA[text]]></MsgType><Name><![CDATA[{name}]]></Name>\
                 <MsgId>{id}</MsgId></xml>",
                self.openid
            ),
            (false, true) => json!({"ToUserName": "gh_1", "FromUserName": self.openid,
                "CreateTime": at, "MsgType": "event", "Event": "a", "Name": name})
            .to_string(),
            (false, false) => json!({"ToUserName": "gh_1", "FromUserName": self.openid,
                "CreateTime": at, "MsgType": "text", "Name": name, "MsgId": id})
            .to_string(),
        };
        let (query, body) = self.pushed(&message);
        InboxPush {
            name,
            path: format!("/weapp/message/{}?{query}", self.appid()),
            body,
        }
    }

    /// The push's query and body, under a nonce of its own: a repeated push is no copy.
    fn pushed(&self, message: &str) -> (String, String) {
        let tokens = RandomSource::system();
        let (token, nonce) = (Secret::new(TOKEN), hex::encode(tokens.bytes::<4>()));
        let now = Clock::system().unix_secs().get().to_string();
        let plain = signature(&token, &now, &nonce);
        let query = format!("signature={plain}&timestamp={now}&nonce={nonce}");
        if self.mode == InboxMode::Plain {
            return (query, message.to_owned());
        }
        let key = MessageKey::parse(&Secret::new(KEY)).expect("a key");
        let sealed = encrypt(&key, LOCKED, message, tokens.bytes());
        let proof = msg_signature(&token, &now, &nonce, &sealed);
        let query = format!("{query}&encrypt_type=aes&msg_signature={proof}");
        let rest = match (self.mode, self.is_xml) {
            (InboxMode::Safe, true) => "<xml><ToUserName><![CDATA[gh_1]]></ToUserName></xml>",
            (InboxMode::Safe, false) => "{\"ToUserName\":\"gh_1\"}",
            _ => message,
        };
        let body = if self.is_xml {
            let end = format!("<Encrypt><![CDATA[{sealed}]]></Encrypt></xml>");
            rest.replace("</xml>", &end)
        } else {
            let mut fields: Value = serde_json::from_str(rest).expect("JSON");
            fields["Encrypt"] = sealed.into();
            fields.to_string()
        };
        (query, body)
    }
}

/// A letter as the app heard it.
#[derive(Debug)]
struct InboxHeard {
    name: String,
    id: String,
}

/// The business server, which outlives every weappd.
#[derive(Default)]
struct InboxApp {
    /// What it took.
    taken: Mutex<Vec<InboxHeard>>,
    /// As if nobody were there.
    is_away: AtomicBool,
    /// Refuses the grumbler's letters no more.
    is_patient: AtomicBool,
    /// The highest number of a try.
    tries: AtomicU32,
}

async fn take(State(app): State<Arc<InboxApp>>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let message: Value = serde_json::from_str(&body).expect("plain JSON");
    let name = text(&message["Name"]);
    assert_eq!(message["FromUserName"], header("x-wx-openid"));
    assert!([OPEN, LOCKED].contains(&header("x-wx-appid").as_str()));
    assert_eq!(header("x-wx-source"), "wx_client");
    assert!(message.get("Encrypt").is_none(), "{message}");
    let tries = header("x-weappd-message-try").parse().expect("a number");
    app.tries.fetch_max(tries, Ordering::SeqCst);
    if app.is_away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if name.starts_with("ogrumbler") && !app.is_patient.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    // Some take longer than others, so that they fall in every state.
    let [pause] = RandomSource::system().bytes();
    tokio::time::sleep(Duration::from_millis(u64::from(pause % 8))).await;
    app.taken.lock().expect("a lock").push(InboxHeard {
        name: name.to_owned(),
        id: header("x-weappd-message-id"),
    });
    StatusCode::OK
}

impl InboxApp {
    /// How often each letter was taken.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for heard in &*self.taken.lock().expect("a lock") {
            *counts.entry(heard.name.clone()).or_default() += 1;
        }
        counts
    }
}

fn serve(app: SocketAddr, more: &str) -> TestWorld {
    let secret = "secret = { env = \"WEAPP_SECRET\" }";
    WorldRecipe::new()
        .long_form()
        .edge("redirect = false")
        .sections(&format!(
            "[sites.localhost]\ncert = \"site.crt\"\nkey = \"site.key\"\n\
             miniapps = [\"{LOCKED}\", \"{OPEN}\"]\nproxy = \"{app}\"\n\
             [miniapps.{LOCKED}]\n{secret}\nmessage_token = \"{TOKEN}\"\n\
             encoding_aes_key = \"{KEY}\"\n\
             [miniapps.{OPEN}]\n{secret}\nmessage_token = \"{TOKEN}\"\n\
             [gateway.inbox]\nfirst_pause_ms = 20\nlongest_pause_ms = 200\nmax_refusals = 3\n\
             at_once = {AT_ONCE}\n{more}"
        ))
        .log("info,weappd_gateway=error")
        .serve()
}

/// Pushes a letter: status and body of the answer, if it came whole.
async fn post_letter(to: SocketAddr, letter: &InboxPush) -> Option<(u16, String)> {
    let asking = async {
        let mut tcp = TcpStream::connect(to).await.ok()?;
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/xml\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{}",
            letter.path,
            letter.body.len(),
            letter.body
        );
        tcp.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse().ok()).flatten()
        });
        // Half an answer is none: WeChat would push again.
        (length == Some(body.len())).then_some(())?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.expect("a killed weappd does not keep WeChat waiting")
}

/// The same: whether it was acknowledged; `None` if weappd fell.
async fn push(to: SocketAddr, letter: &InboxPush) -> Option<bool> {
    let (status, body) = post_letter(to, letter).await?;
    Some((status, body.as_str()) == (200, "success"))
}

/// Pushes one letter after the other, until weappd is gone. The one it left unanswered is
/// pushed first at its next run, as WeChat does.
async fn write_until_it_falls(
    to: SocketAddr,
    writer: &mut InboxWriter,
    (acknowledged, enough, most): (&Mutex<BTreeSet<String>>, &Notify, usize),
) {
    loop {
        let letter = writer.letter(writer.next);
        match push(to, &letter).await {
            Some(taken) => assert!(taken, "{} was refused", letter.name),
            None => return,
        }
        writer.next += 1;
        let mut acknowledged = acknowledged.lock().expect("a lock");
        acknowledged.insert(letter.name);
        if acknowledged.len() >= most {
            enough.notify_one();
        }
    }
}

/// What `weappd inbox` says in JSON.
fn inbox(world: &TestWorld, args: &[&str]) -> Value {
    let output = world.command(&[&["inbox"], args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Waits until nothing waits and this many are dead.
async fn settled(world: &TestWorld, dead: usize) {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let status = inbox(world, &["status"]);
        if (&status["waiting"], &status["dead"]) == (&json!(0), &json!(dead)) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// After how many acknowledged messages each run is killed, and whether the app is away
/// meanwhile.
const RUNS: [(usize, bool); 5] = [
    (1, false),
    (30, false),
    (120, true),
    (250, false),
    (60, false),
];

fn writers() -> Vec<InboxWriter> {
    let modes = [InboxMode::Plain, InboxMode::Compatible, InboxMode::Safe];
    let forms = modes
        .into_iter()
        .flat_map(|mode| [(mode, true), (mode, false)]);
    let forms = forms.cycle().zip(1..=12);
    let writer = |((mode, is_xml), number): ((_, _), u32)| {
        InboxWriter::new(&number.to_string(), number, mode, is_xml)
    };
    forms.map(writer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_by_kill_9() {
    let app = Arc::new(InboxApp::default());
    let router = Router::new().route("/weapp/message", post(take));
    let mut world = serve(upstream::serve(router.with_state(Arc::clone(&app))), "");
    let mut writers = writers();
    let mut grumbler = InboxWriter::new("grumbler", 99, InboxMode::Safe, false);
    let acknowledged = Mutex::new(BTreeSet::new());

    for (run, (more, is_away)) in (0..).zip(RUNS) {
        app.is_away.store(is_away, Ordering::SeqCst);
        assert_eq!(push(world.http, &grumbler.letter(run)).await, Some(true));
        let most = acknowledged.lock().expect("a lock").len() + more;
        let (to, enough) = (world.http, Notify::new());
        let ledger = (&acknowledged, &enough, most);
        let writing = writers
            .iter_mut()
            .map(|writer| write_until_it_falls(to, writer, ledger));
        let kill = async {
            let reached = tokio::time::timeout(PATIENCE * 2, enough.notified()).await;
            reached.expect("messages are taken");
            let [moment] = RandomSource::system().bytes();
            tokio::time::sleep(Duration::from_millis(u64::from(moment % 32))).await;
            world.process().signal_leader(Signal::KILL);
        };
        tokio::join!(join_all(writing), kill);
        world.restart();
    }
    grumbler.next = u32::try_from(RUNS.len()).expect("few");
    app.is_away.store(false, Ordering::SeqCst);
    settled(&world, RUNS.len()).await;

    let acknowledged = acknowledged.into_inner().expect("a lock");
    everything_arrived(&app, &acknowledged, &writers);
    assert!(app.tries.load(Ordering::SeqCst) > 3, "the app was away");
    nothing_pushed_again_is_delivered_again(&world, &app, &writers).await;
    the_dead_are_replayed(&world, &app, &grumbler).await;
}

/// Every acknowledged letter, in order, once; twice only where weappd fell meanwhile.
fn everything_arrived(app: &InboxApp, acknowledged: &BTreeSet<String>, writers: &[InboxWriter]) {
    let counts = app.counts();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|name| !counts.contains_key(*name))
        .collect();
    let all = acknowledged.len();
    assert!(
        lost.is_empty(),
        "{} of {all} are lost: {lost:?}",
        lost.len()
    );

    let taken = app.taken.lock().expect("a lock");
    let mut ids = HashMap::new();
    for heard in &*taken {
        let id = ids.entry(&heard.name).or_insert(&heard.id);
        assert_eq!(*id, &heard.id, "the same message has the same id");
    }
    // Only what was on its way when weappd fell may come again.
    let twice = taken.len() - counts.len();
    assert!(twice <= AT_ONCE * RUNS.len(), "{twice} came again");
    for writer in writers {
        let mut first = Vec::new();
        for heard in &*taken {
            let of_writer = heard.name.strip_prefix(&format!("{} ", writer.openid));
            let number = of_writer.map(|number| number.parse::<u32>().expect("a number"));
            if let Some(number) = number.filter(|number| !first.contains(number)) {
                first.push(number);
            }
        }
        // The one in the air when weappd fell may have been taken without a word.
        let most = (0..=writer.next).collect::<Vec<_>>();
        assert!(most.starts_with(&first), "{}: {first:?}", writer.openid);
    }
}

/// Two messages of each writer and the one that may have fallen, twice more.
async fn nothing_pushed_again_is_delivered_again(
    world: &TestWorld,
    app: &InboxApp,
    writers: &[InboxWriter],
) {
    for writer in writers {
        assert_eq!(
            push(world.http, &writer.letter(writer.next)).await,
            Some(true)
        );
    }
    settled(world, RUNS.len()).await;
    let before = app.counts();
    for writer in writers {
        for number in [0, 1, writer.next.saturating_sub(1), writer.next] {
            if number <= writer.next {
                assert_eq!(push(world.http, &writer.letter(number)).await, Some(true));
            }
        }
    }
    settled(world, RUNS.len()).await;
    assert_eq!(app.counts(), before);
}

async fn the_dead_are_replayed(world: &TestWorld, app: &InboxApp, grumbler: &InboxWriter) {
    let dead = inbox(world, &["list"]);
    let dead = dead.as_array().expect("a list");
    let names = dead.iter().map(|letter| {
        assert_eq!(letter["openid"], grumbler.openid, "{letter}");
        assert_eq!(text(&letter["why"]), "the app answered HTTP 500");
        let body: Value = serde_json::from_str(text(&letter["body"])).expect("JSON");
        text(&body["Name"]).to_owned()
    });
    let names: Vec<_> = names.collect();
    let all: Vec<_> = (0..grumbler.next)
        .map(|n| grumbler.letter(n).name)
        .collect();
    assert_eq!(names, all);
    // A repeated push of a dead letter is only acknowledged.
    assert_eq!(push(world.http, &grumbler.letter(0)).await, Some(true));

    app.is_patient.store(true, Ordering::SeqCst);
    let one = dead[1]["id"].to_string();
    assert!(world.command(&["inbox", "replay", &one]).status.success());
    settled(world, RUNS.len() - 1).await;
    assert_eq!(app.counts().get(&all[1]), Some(&1));
    assert!(world.command(&["inbox", "replay"]).status.success());
    settled(world, 0).await;
    let counts = app.counts();
    assert!(
        all.iter().all(|name| counts.get(name) == Some(&1)),
        "{counts:?}"
    );
}

/// What an app answers that wants a person to take over.
async fn transfer(body: String) -> String {
    let message: Value = serde_json::from_str(&body).expect("plain JSON");
    json!({"ToUserName": message["FromUserName"], "FromUserName": message["ToUserName"],
        "CreateTime": 1_700_000_000, "MsgType": "transfer_customer_service"})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_encrypted_push_is_encrypted_as_wechat_reads_it() {
    let app = Router::new().route("/weapp/message", post(transfer));
    let world = serve(upstream::serve(app), "reply_to = [\"text\"]");
    let mailbox = MessageCodec {
        appid: LOCKED.to_owned(),
        token: Secret::new(TOKEN),
        key: MessageKey::parse(&Secret::new(KEY)).expect("a key"),
    };
    for (number, mode, is_xml) in [
        (1, InboxMode::Safe, true),
        (2, InboxMode::Safe, false),
        (3, InboxMode::Compatible, true),
        (4, InboxMode::Compatible, false),
    ] {
        let writer = InboxWriter::new(&number.to_string(), number, mode, is_xml);
        let (status, sealed) = post_letter(world.http, &writer.letter(0))
            .await
            .expect("an answer");
        assert_eq!(status, 200, "{sealed}");
        assert_eq!(sealed.starts_with("<xml>"), is_xml, "{sealed}");
        assert!(!sealed.contains("customer"), "{sealed}");
        let field = |name: &str| {
            let (_, rest) = sealed.split_once(name).expect("the field");
            let is_word = |c: char| c.is_ascii_alphanumeric();
            let rest = rest.trim_start_matches("><![CDATA[");
            let rest = rest.trim_start_matches(|c| !is_word(c));
            let end = rest.find(|c| !is_word(c)).expect("an end");
            rest[..end].to_owned()
        };
        let stamp = (field("TimeStamp"), field("Nonce"), field("MsgSignature"));
        let stamp = PushSignature {
            timestamp: &stamp.0,
            nonce: &stamp.1,
            msg_signature: &stamp.2,
        };
        let opened = mailbox.open(stamp, &sealed).expect("signed and sealed");
        assert_eq!(opened.starts_with("<xml>"), is_xml, "{opened}");
        assert!(opened.contains("transfer_customer_service"), "{opened}");
        assert!(opened.contains(&writer.openid), "{opened}");
        // What wants no answer gets the word.
        assert_eq!(push(world.http, &writer.letter(1)).await, Some(true));
    }
    settled(&world, 0).await;
}
