//! Whole files in, problems or a configuration out.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use weappd_base::language::Language;
use weappd_certs::CertFiles;
use weappd_edge::RouteTarget;

use crate::config::{self, Config, ConfigProblem, ProblemSeverity, sample};

mod certificates;
mod mends;
mod mini_programs;
mod samples;
mod special_files;
mod tunnel;

/// A directory with a certificate, a page and a program beside weappd.toml.
struct Desk {
    dir: TempDir,
}

const MINIAPP: &str =
    "[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = { env = \"WEAPP_SECRET\" }\n";

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let hosts = ["www.example.com", "example.com", "shop.example.com"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
        write("a.crt", &made.cert.pem()).expect("written");
        write("a.key", &made.signing_key.serialize_pem()).expect("written");
        write("app.sh", "").expect("written");
        std::fs::create_dir(dir.path().join("html")).expect("made");
        Self { dir }
    }

    fn load(&self, text: &str) -> Result<config::LoadedConfig, Vec<ConfigProblem>> {
        let path = self.dir.path().join("weappd.toml");
        std::fs::write(&path, text).expect("written");
        let env = |name: &str| match name {
            "WEAPP_SECRET" => Some("5ec2e70f7e57a99000000000c0ffee11".to_owned()),
            "PATH" => Some("/bin:/usr/bin".to_owned()),
            _ => None,
        };
        let load = || config::load(&path, &env, &|_| Vec::new());
        // Whatever is said in English is said in Chinese, too.
        let chinese = Language::Chinese.speak(load);
        for problem in chinese.map_or_else(|found| found, |loaded| loaded.warnings) {
            for said in [Some(&problem.message), problem.hint.as_ref()] {
                let said = said.map_or("", String::as_str);
                let is_chinese = |c| ('\u{4e00}'..='\u{9fff}').contains(&c);
                assert!(
                    said.is_empty() || said.contains(is_chinese),
                    "no Chinese: {said}"
                );
            }
        }
        load()
    }

    fn config(&self, text: &str) -> Config {
        match self.load(text) {
            Ok(loaded) => loaded.config,
            Err(problems) => unreachable!("{}", self.rendered(&problems)),
        }
    }

    fn rendered(&self, problems: &[ConfigProblem]) -> String {
        let place = format!("{}/", self.dir.path().display());
        config::render(problems, false).replace(&place, "")
    }

    /// `line:column severity: message` of every problem, in order; notes left out.
    fn told(&self, text: &str) -> Vec<String> {
        let problems = match self.load(text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        let place = format!("{}/", self.dir.path().display());
        problems
            .iter()
            .filter(|problem| problem.severity != ProblemSeverity::Note)
            .map(|problem| {
                let at = problem.place.as_ref();
                let at = at.map_or("-".to_owned(), |at| format!("{}:{}", at.line, at.column));
                let severity = problem.severity.name();
                format!("{at} {severity}: {}", problem.message).replace(&place, "")
            })
            .collect()
    }

    fn notes(&self, text: &str) -> Vec<String> {
        let warnings = self.load(text).expect("a fine file").warnings;
        let notes = warnings
            .into_iter()
            .filter(|note| note.severity == ProblemSeverity::Note);
        notes.map(|note| note.message).collect()
    }
}

/// What is told of the certificate here.
const SELF_SIGNED: &str =
    "2:8 warning: a.crt is signed by itself: phones and WeChat do not trust it";

/// A site that needs no certificate, to try other things with.
const SITE: &str = "domain = \"a.com\"\ntls = \"off\"\n";

#[test]
fn a_koa_hello_world_takes_four_lines() {
    let checker = Desk::new();
    let text = "domain = \"www.example.com\"\ncert = \"a.crt\"\nkey = \"a.key\"\nproxy = \"127.0.0.1:1937\"\n";
    assert_eq!(checker.told(text), [SELF_SIGNED]);
    let config = checker.config(text);
    assert_eq!(config.http[0].to_string(), "[::]:80");
    assert_eq!(config.https[0].to_string(), "[::]:443");
    let [site] = config.sites.as_slice() else {
        unreachable!("one site");
    };
    assert_eq!(site.hosts, ["www.example.com"]);
    assert_eq!(site.redirect, Some(443));
    let cert = checker.dir.path().join("a.crt");
    let key = checker.dir.path().join("a.key");
    assert_eq!(site.tls, Some(CertFiles { cert, key }));
    assert_eq!(site.routes[0].path, "/");
    assert!(matches!(&site.routes[0].target, RouteTarget::Proxy(to) if to == &["127.0.0.1:1937"]));
    let short = checker.config(&text.replace("\"127.0.0.1:1937\"", "1937"));
    assert_eq!(format!("{short:?}"), format!("{config:?}"));
}

#[test]
fn the_smallest_file_of_the_design_needs_only_its_certificate() {
    let checker = Desk::new();
    let text = format!("domain = \"www.example.com\"\n{MINIAPP}[app]\nrun = \"sh app.sh\"\n");
    assert_eq!(
        checker.told(&text),
        ["1:10 error: www.example.com has no certificate, and mini programs speak HTTPS only"]
    );
    let text = text.replace("[miniapp]", "cert = \"a.crt\"\nkey = \"a.key\"\n[miniapp]");
    let config = checker.config(&text);
    assert_eq!(checker.told(&text), [SELF_SIGNED]);
    assert_eq!(
        config.mini_apps[0].secret.expose(),
        "5ec2e70f7e57a99000000000c0ffee11"
    );
    assert!(matches!(&config.sites[0].routes[0].target, RouteTarget::App(name) if name == "app"));
    assert_eq!(config.sites[0].appids, ["wx1234567890abcdef"]);
    assert_eq!(config.data_dir, checker.dir.path().join(".weappd"));
}

#[test]
fn the_short_and_the_long_form_mean_the_same() {
    let checker = Desk::new();
    let short = format!(
        "domain = [\"www.example.com\", \"example.com\"]\ncert = \"a.crt\"\nkey = \"a.key\"\n\
         dialects = [\"wafer1\"]\nroutes = [{{ path = \"/api\", proxy = 1937, session = \"require\" }}]\n\
         services.ws = {{ proxy = 1938, session = \"require\" }}\nservices.a = {{ app = \"app\" }}\n\
         {MINIAPP}[app]\nrun = \"sh app.sh\"\ninstances = 2\n[tunnel]\nkey = \"abc\"\n"
    );
    let long = "[sites.\"www.example.com\"]\naliases = [\"example.com\"]\ncert = \"a.crt\"\nkey = \"a.key\"\n\
         dialects = [\"wafer1\"]\nminiapp = \"wx1234567890abcdef\"\nredirect = true\n\
         routes = [{ path = \"/\", app = \"app\" }, { path = \"/api\", proxy = [\"127.0.0.1:1937\"], session = \"require\" }]\n\
         [sites.\"www.example.com\".services]\nws = { proxy = \"127.0.0.1:1938\", session = \"require\" }\na = { app = \"app\" }\n\
         [miniapps.wx1234567890abcdef]\nsecret = { env = \"WEAPP_SECRET\" }\nlogin_duration_days = 30\nsession_duration_secs = 2592000\n\
         [apps.app]\nrun = \"sh app.sh\"\ninstances = 2\n\
         [[tunnel.businesses]]\nhost = \"www.example.com\"\nkey = \"abc\"\n\
         [edge]\nhttp = \":80\"\nhttps = [443]\nredirect = true\n[internal]\nlisten = \"127.0.0.1:8081\"\n";
    let (short, long) = (checker.config(&short), checker.config(long));
    assert_eq!(format!("{short:?}"), format!("{long:?}"));
    assert_eq!(short.mini_apps, long.mini_apps);
    assert_eq!(
        long.sites[0].tunnel_business.as_deref(),
        Some("www.example.com")
    );
    let env = |config: &Config| config.tunnel.businesses[0].key.expose().to_owned();
    assert_eq!(
        (env(&short), env(&long)),
        ("abc".to_owned(), "abc".to_owned())
    );
}

#[test]
fn who_answers_what_is_told() {
    const PROXY: &str = "a.com has no TLS of its own: if a TLS proxy stands in front, name it as \
        [edge] trusted_proxies = [\"loopback\"] (or its address), or apps see it, and plain http, \
        in place of the client";
    let checker = Desk::new();
    let text = format!(
        "{SITE}proxy = 1937\nroutes = [{{ path = \"/weapp/login\", proxy = 5757 }}]\n{MINIAPP}[tunnel]\nkey = \"abc\"\n"
    );
    let notes = checker.notes(&text);
    assert_eq!(
        notes,
        [
            "weappd itself answers /weapp/session, /weapp/files/, /weapp/ws/, /weapp/user, /weapp/upload of a.com",
            "phones ask your app for tunnels at /weapp/tunnel of a.com, and weappd if your app has no such path; callbacks are your app's",
            PROXY,
            "this route takes over /weapp/login, which weappd would answer",
        ]
    );
    let all = checker.notes(&format!(
        "{SITE}routes = [{{ path = \"/weapp/\", proxy = 5757 }}]\n{MINIAPP}"
    ));
    assert_eq!(
        all,
        [
            PROXY,
            "this route takes over /weapp/session, /weapp/files/, /weapp/ws/, /weapp/login, /weapp/user, /weapp/upload, which weappd would answer"
        ]
    );
    let without = checker.notes(&format!("{SITE}proxy = 1937\n"));
    assert_eq!(without.len(), 2);
    assert!(without[0].contains("has no [miniapp]"), "{without:?}");
}

/// Every broken file: its text, and what is told about it.
#[test]
fn every_problem_of_broken_files_is_told() {
    let checker = Desk::new();
    let cases: &[(&str, &[&str])] = &[
        ("", &["- error: no site is configured"]),
        (
            "domain = \"\"\ntls = \"off\"\nproxy = 1\n",
            &["1:10 error: `` is not a host name"],
        ),
        (
            "domain = \"https://a.com/\"\ntls = \"off\"\nproxy = 1\n",
            &["1:10 error: `https://a.com/` is not a host name"],
        ),
        (
            "proxy = 1937\n",
            &[
                "1:9 error: `proxy` is of no site",
                "- error: no site is configured",
            ],
        ),
        (
            "domain = \"localhost\"\nproxy = 1937\n",
            &["1:10 error: localhost has no certificate, and mini programs speak HTTPS only"],
        ),
        (
            "domain = \"a.com\"\ntls = \"auto\"\nproxy = 1937\n",
            &["2:7 error: a.com has no certificate, and mini programs speak HTTPS only"],
        ),
        (
            "domain = \"a.com\"\ncert = \"a.crt\"\nproxy = 1\n",
            &["2:8 error: `cert` without `key`"],
        ),
        (
            "domain = \"a.com\"\nkey = \"a.key\"\nproxy = 1\n",
            &["2:7 error: `key` without `cert`"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\ncert = \"a.crt\"\nproxy = 1\n",
            &["2:7 error: a.com has `cert`, but TLS is off"],
        ),
        (
            "domain = \"a.com\"\ncert = \"none.crt\"\nkey = \"a.key\"\nproxy = 1\n",
            &["2:8 error: cannot read none.crt: No such file or directory (os error 2)"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1937\n[app]\nrun = \"sh\"\n",
            &["3:9 error: both `app` and `proxy` answer here"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = [\"http://127.0.0.1:1\", \"b\", 0, 70000]\n",
            &[
                "3:10 error: `http://127.0.0.1:1` is not host:port",
                "3:32 error: `b` is not host:port",
                "3:37 error: `127.0.0.1:0` is not host:port",
                "3:40 error: `127.0.0.1:70000` is not host:port",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = \"127.0.0.1:8081\"\n",
            &["3:9 error: 127.0.0.1:8081 is weappd itself"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nroot = \"nowhere\"\n",
            &["3:8 error: nowhere is not a directory"],
        ),
        (
            SITE,
            &["1:10 warning: no app, proxy or root answers the paths of a.com"],
        ),
        (
            "[sites.\"a.com\"]\ntls = \"off\"\nproxy = 1\n[sites.\"b.com\"]\naliases = [\"A.com\"]\ntls = \"off\"\nproxy = 1\n",
            &["5:12 error: two sites are called a.com"],
        ),
        (
            "[sites.\"a.com\"]\ntls = \"off\"\nroutes = [\n  { path = \"/\", app = \"shpo\" },\n  { path = \"/a\", proxy = 1, root = \"html\" },\n  { path = \"b\", proxy = 1 },\n  { path = \"/c/*.js\", proxy = 1 },\n  { path = \"/d\" },\n  { proxy = 1 },\n  { path = \"/a\", redirect = \"a b\", code = 200 },\n  { path = \"/e\", proxy = 1, code = 301, session = \"required\" },\n]\n[apps.shop]\nrun = \"sh\"\n",
            &[
                "4:23 error: no app is called `shpo`",
                "5:36 error: both `proxy` and `root` answer here",
                "6:12 error: `b` does not begin with /",
                "7:12 error: `/c/*.js` is a pattern, not a path",
                "8:3 error: the route leads nowhere",
                "9:3 error: the route has no `path`",
                "10:12 error: the path `/a` leads two ways",
                "10:29 error: `a b` is not an address",
                "10:43 error: 200 is not the status of a redirect",
                "11:36 error: `code` goes with `redirect`",
                "11:51 error: expected \"pass\" or \"require\"",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\nservices.ok = { proxy = 2 }\nservices.\"a b\" = { proxy = 3 }\nservices.c = { app = \"shpo\" }\nservices.d = {}\nservices.e = { proxy = 1, app = \"shop\" }\nservices.f = { root = \"html\" }\n[apps.shop]\nrun = \"sh\"\n",
            &[
                "5:10 error: `a b` is no name of a service",
                "6:22 error: no app is called `shpo`",
                "7:10 error: the service `d` leads nowhere",
                "8:24 error: both `app` and `proxy` answer here",
                "9:16 error: unknown key `root`",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[edge]\nwechat_gateways = [\"203.0.113.0/24\", \"203.0.113.9/24\", \"gateway.example.com\", \"::/0\"]\n",
            &[
                "5:38 error: edge.wechat_gateways[1]: `203.0.113.9/24` begins in the middle: its network is 203.0.113.0/24",
                "5:56 error: edge.wechat_gateways[2]: `gateway.example.com` is no network of addresses",
                "5:79 error: edge.wechat_gateways[3]: `::/0` is everybody",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[edge]\ntrusted_proxies = [\"loopback\", \"10.0.0.1/8\", \"nginx\", \"0.0.0.0/0\"]\n",
            &[
                "5:32 error: edge.trusted_proxies[1]: `10.0.0.1/8` begins in the middle: its network is 10.0.0.0/8",
                "5:46 error: edge.trusted_proxies[2]: `nginx` is no network of addresses",
                "5:55 error: edge.trusted_proxies[3]: `0.0.0.0/0` is everybody",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[miniapp]\nappid = \"wx123\"\n",
            &[
                "4:2 error: the mini program has no `secret`",
                "5:9 warning: `wx123` does not look like an AppID",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[miniapp]\nsecret = \"\"\nlogin_duration_days = 0\n",
            &[
                "4:2 error: [miniapp] has no `appid`",
                "5:10 error: the secret is empty",
                "6:23 error: nobody would stay logged in",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = { env = \"UNSET\" }\n",
            &["6:18 error: the environment variable UNSET is not set"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[miniapps.wx1234567890abcdef]\nsecret = \"0123456789abcdef0123456789abcdea\"\n[miniapps.wx1234567890abcdee]\nsecret = \"0123456789abcdef0123456789abcdeb\"\n",
            &["1:10 error: the site does not say which mini program logs in here"],
        ),
        (
            "[sites.\"a.com\"]\ntls = \"off\"\nproxy = 1\nminiapp = \"wx1234567890abcdee\"\n[miniapps.wx1234567890abcdef]\nsecret = \"0123456789abcdef0123456789abcdea\"\n",
            &["4:11 error: no mini program is called `wx1234567890abcdee`"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\n[app]\nrun = \"no-such-program app.js\"\nport = 8081\ninstances = 0\ndir = \"nowhere\"\n",
            &[
                "4:7 warning: the program `no-such-program` is not found",
                "6:13 error: app.instances: must be at least 1",
                "7:7 error: nowhere is not a directory",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\n[app]\nrun = \"sh\"\nport = 8080\ninstances = 2\n[edge]\nhttp = 80\nhttps = \"0.0.0.0:80\"\n",
            &[
                "5:8 error: the app `app` and [internal] listen both want port 8081",
                "9:9 error: [edge] https and [edge] http both want port 80",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[edge]\nhttp = \"example.com:80\"\nthreads = \"4\"\nmax_headers = 1\nhttps = \":443\"\nhtttp2 = false\n",
            &[
                "5:8 error: `example.com:80` is not an address to listen on",
                "6:11 error: expected a whole number, found text",
                "7:15 error: edge.max_headers: must be at least 16, not 1",
                "9:1 error: unknown key `htttp2`",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\nlisten = \"0.0.0.0:8081\"\n[log]\nlevel = \"inof\"\n[session]\nstore = \"postgres://u:p@h/d\"\n[files]\nmax_upload_bytes = 0\n[wechat]\ntimeout_ms = 1\n",
            &[
                "5:10 error: `0.0.0.0:8081` can be reached from other machines",
                "7:9 error: `inof` is not a log level",
                "9:9 error: session.store: ",
                "11:20 error: files.max_upload_bytes: no file fits into 0 bytes",
                "13:14 error: wechat.timeout_ms: 1 ms is out of range",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[session]\nkey_file = \"\"\ncache_bytes = 12\nkey = \"abc\"\n[edge]\nthreads = 100000\n",
            &[
                "5:12 error: session.key_file: names no file",
                "6:15 error: session.cache_bytes: 12 is out of bounds",
                "7:7 error: session.key: is no key",
                "9:11 error: edge.threads: must be at most 1024, not 100000",
            ],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\nwechat_https = \"0.0.0.0:8083\"\n",
            &["5:16 error: `0.0.0.0:8083` can be reached from other machines"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\nwechat_https = \"127.0.0.1:8081\"\n",
            &["5:16 error: [internal] wechat_https and [internal] listen both want port 8081"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\ntoken = \"short\"\n",
            &["5:9 error: shorter than 16 characters: it can be guessed"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\ntoken = \"with blanks in it all over\"\n",
            &["5:9 error: a header cannot carry blanks or letters beyond ASCII"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[internal]\ntoken = { env = \"NOT_THERE\" }\n",
            &["5:17 error: the environment variable NOT_THERE is not set"],
        ),
        (
            "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[tunnel]\nkey = \"\"\nreceive = \"nowhere\"\nbuisnesses = []\n",
            &[
                "5:7 error: tunnel.key: the signature key is missing",
                "6:11 error: tunnel.receive: not an http or https address",
                "7:1 error: unknown key `buisnesses`",
            ],
        ),
        (
            "domain = \"a.com\"\nserver_name = \"a.com\"\ntls = \"off\"\nproxy = true\n[miniap]\n[sesion]\nwafer1 = true\n",
            &[
                "2:1 error: unknown key `server_name`",
                "4:9 error: expected a port, \"host:port\", or a list of them",
                "5:2 error: unknown key `miniap`",
                "6:2 error: unknown key `sesion`",
            ],
        ),
        (
            "domain = a.com\ntls = off\n[app\nrun = \"x\n",
            &["1:10 error: ", "2:7 error: ", "3:5 error: "],
        ),
    ];
    for (text, expected) in cases {
        let told = checker.told(text);
        let alike = told.len() == expected.len()
            && told.iter().zip(*expected).all(|(told, expected)| {
                // The words of other rooms and of the TOML parser are their own business.
                told == expected || (expected.ends_with(": ") && told.starts_with(expected))
            });
        assert!(alike, "{text}\ntold: {told:#?}\nexpected: {expected:#?}");
        speaks_chinese(&checker, text);
    }
}

/// Says the same in Chinese, but for the words of other rooms.
fn speaks_chinese(checker: &Desk, text: &str) {
    let english = checker
        .load(text)
        .map_or_else(|found| found, |l| l.warnings);
    let chinese = Language::Chinese.speak(|| checker.load(text));
    let chinese = chinese.map_or_else(|found| found, |l| l.warnings);
    let places = |problems: &[ConfigProblem]| -> Vec<_> {
        let place = |p: &ConfigProblem| (p.severity, p.place.as_ref().map(|p| p.span.clone()));
        problems.iter().map(place).collect()
    };
    assert_eq!(places(&english), places(&chinese), "{text}");
    let is_han = |c: char| ('\u{4E00}'..='\u{9FFF}').contains(&c);
    for (english, chinese) in english.iter().zip(&chinese) {
        let is_rooms = [
            "session.", "files.", "edge.", "gateway.", "wechat.", "tunnel.", "app.",
        ];
        let is_rooms = is_rooms
            .iter()
            .any(|room| english.message.starts_with(room));
        if is_rooms || english.message.contains(".crt") || english.message.contains(".key") {
            continue;
        }
        assert!(
            chinese.message.contains(is_han),
            "{text}\n{}",
            chinese.message
        );
        let hint = chinese.hint.as_deref().unwrap_or("是");
        assert!(hint.contains(is_han), "{text}\n{} {hint}", chinese.message);
    }
}

#[test]
fn problems_are_drawn_with_place_and_hint() {
    let checker = Desk::new();
    let text = "domian = \"www.example.com\"\n\n[files]\nmax_upload_bytes = \"10\"\n[miniapp]\nsecert = \"0a1b2c\"\n";
    let problems = checker.load(text).expect_err("broken");
    let drawn = checker.rendered(&problems);
    let expected = "  × unknown key `domian`
   ╭─[weappd.toml:1:1]
 1 │ domian = \"www.example.com\"
   · ──────
   ╰────
  help: did you mean `domain`?

  × expected a number of bytes, or a size such as \"10MB\", found text
   ╭─[weappd.toml:4:20]
 4 │ max_upload_bytes = \"10\"
   ·                    ────
   ╰────
  help: numbers stand without quotes

  × [miniapp] has no `appid`
   ╭─[weappd.toml:5:2]
 5 │ [miniapp]
   ·  ───────
   ╰────
  help: wx and 16 hex digits, as mp.weixin.qq.com shows it under Development settings (开发设置)

  × the mini program has no `secret`
   ╭─[weappd.toml:5:2]
 5 │ [miniapp]
   ·  ───────
   ╰────
  help: give the AppSecret: secret = { env = \"WEAPP_SECRET\" }, or { file = \"...\" }, or the text
        itself

  × unknown key `secert`
   ╭─[weappd.toml:6:1]
 6 │ secert = \"******\"
   · ──────
   ╰────
  help: did you mean `secret`?

  × no site is configured
  help: begin with: domain = \"www.example.com\"

";
    assert_eq!(drawn, expected);
}

#[test]
fn a_secret_is_never_shown() {
    let checker = Desk::new();
    let secrets = [
        "s3cr3t-of-the-app",
        "k3y-of-the-tunnel",
        "pa55word",
        "v4lue",
    ];
    for broken in ["", "x = \n", "[miniapp]\n", "secret = 5\n", "[[app]]\n"] {
        let text = format!(
            "domain = \"a.com\"\nproxy = 1\n[miniapp]\nappid = 5\nsecrt = \"{}\"\nsecret = {}\n\
             [tunnel]\nkey = \"{}\" + 1\n[app]\nenv = {{ DB = \"{}\", X = 5 }}\nenvv = {{ A = \"{}\" }}\n{broken}",
            secrets[0], secrets[0], secrets[1], secrets[3], secrets[3],
        );
        let whole = text
            .replace(" + 1", "")
            .replace("secret = s3", "# secret = s3");
        let store = whole.replace(
            "[app]",
            &format!("[session]\nstore = \"mysql://u:{}@h\"\n[app]", secrets[2]),
        );
        for text in [text, whole, store] {
            let problems = checker.load(&text).expect_err("broken");
            let drawn = config::render(&problems, true);
            let debug = format!("{problems:?}");
            let json: Vec<_> = problems.iter().map(config::to_json).collect();
            for secret in secrets {
                assert!(!drawn.contains(secret), "{text}\n{drawn}");
                assert!(!debug.contains(secret), "{text}\n{debug}");
                assert!(!format!("{json:?}").contains(secret), "{text}\n{json:?}");
            }
        }
    }
    let config = checker.config(&format!(
        "{SITE}[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = \"{}\"\n[tunnel]\nkey = \"{}\"\n[app]\nrun = \"sh\"\nenv = {{ A = \"{}\" }}\n",
        secrets[0], secrets[1], secrets[3],
    ));
    for secret in secrets {
        assert!(!format!("{config:?}").contains(secret));
    }
}

#[test]
fn the_data_directory_is_found_in_files_with_problems() {
    let checker = Desk::new();
    let path = checker.dir.path().join("weappd.toml");
    assert_eq!(
        config::data_dir_of(&path),
        checker.dir.path().join(".weappd")
    );
    std::fs::write(&path, "data_dir = \"state\"\nnonsense = 1\n").expect("written");
    assert_eq!(config::data_dir_of(&path), checker.dir.path().join("state"));
    assert_eq!(
        config::data_dir_of(Path::new("weappd.toml")),
        Path::new(".weappd")
    );
}

#[test]
fn a_root_that_would_show_weappds_own_files_is_told() {
    let checker = Desk::new();
    let at = |name: &str| checker.dir.path().join(name);
    std::fs::create_dir_all(at("data/www")).expect("made");
    std::fs::create_dir_all(at("html/data")).expect("made");
    std::fs::write(at("app.secret"), "abc").expect("written");
    std::os::unix::fs::symlink("data", at("linked")).expect("a link");
    let secret = "[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = { file = \"app.secret\" }\n";
    let whole = format!("{SITE}root = \".\"\ndata_dir = \"data\"\n{secret}");
    let told = checker.told(&whole).join("\n");
    assert!(
        told.contains("3:8 warning: weappd's own files lie in what this site serves: app.secret, data, weappd.toml"),
        "{told}"
    );
    let with_key = "domain = \"www.example.com\"\ncert = \"a.crt\"\nkey = \"a.key\"\nroutes = [{ path = \"/x\", root = \"./html/..\" }]\n";
    let told = checker.told(with_key).join("\n");
    assert!(
        told.contains("lie in what this site serves: a.key, weappd.toml"),
        "{told}"
    );
    for root in ["data", "data/", "./data/www", "linked", "linked/www"] {
        let told = checker.told(&format!("{SITE}root = \"{root}\"\ndata_dir = \"data\"\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("3:8 error: "), "{told:?}");
        assert!(told[0].contains("which is never served"), "{told:?}");
    }
    let beside = format!("{SITE}root = \"html\"\ndata_dir = \"data\"\n");
    assert_eq!(checker.told(&beside), Vec::<String>::new());
    let inside = format!("{SITE}root = \"html\"\ndata_dir = \"html/data\"\n");
    let told = checker.told(&inside).join("\n");
    assert!(told.contains("serves: html/data"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        try_any(&bytes);
    }

    #[test]
    fn random_toml_never_panics(text in "([a-z\\[\\]{}\"'=.,#名 \n\t\r\\\\0-9:/@*\\-]|domain|miniapp|secret|key|app|env|run|sites|routes|path|proxy|edge|http|\n\\[|\" = \"|\"\n){0,60}") {
        try_any(text.as_bytes());
    }

    #[test]
    fn a_mangled_sample_never_panics(at in 0_usize..3000, count in 0_usize..40, insert in "[\\[\\]{}\"'=,\n#a1名]{0,4}") {
        let mut text = sample::text(Language::English, "0123456789abcdef");
        let start = text.floor_char_boundary(at);
        let end = text.floor_char_boundary(at + count);
        text.replace_range(start..end, &insert);
        try_any(text.as_bytes());
    }
}

/// Loads and draws whatever comes.
fn try_any(bytes: &[u8]) {
    let problems = match config::check((Path::new("weappd.toml"), bytes), true, &|_| None, &|_| {
        Vec::new()
    }) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let drawn = config::render(&problems, false);
    assert_eq!(drawn.is_empty(), problems.is_empty());
}
