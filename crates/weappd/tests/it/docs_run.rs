//! The documents, typed: what stands in docs/ as a command or a file is done in an empty
//! folder, with a real `weappd serve`, and what the reader is promised is seen.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use weappd_base::fair_timer::FairTimer;

use crate::http;
use crate::mariadb::MariaDb;
use crate::process::{PATIENCE, WeappdProcess, free_ports};
use crate::production::{block_with, checkout, read};
use crate::upstream;
use crate::world::{WEAPPD, WorldRecipe};

/// Who follows a document: a folder, and a shell in which weappd is installed.
struct DocReader {
    dir: TempDir,
    /// What this machine's ports are in place of the document's.
    ports: Vec<(String, String)>,
    env: Vec<(&'static str, String)>,
}

impl DocReader {
    fn new(ports: &[(u16, u16)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(WEAPPD, bin.join("weappd")).expect("a link");
        let ports = ports
            .iter()
            .map(|(theirs, ours)| (format!(":{theirs}"), format!(":{ours}")));
        Self {
            ports: ports.collect(),
            env: Vec::new(),
            dir,
        }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The text with this machine's ports and paths.
    fn own(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (theirs, ours) in &self.ports {
            text = text.replace(theirs, ours);
        }
        text.replace("/srv/shop", &self.dir.path().display().to_string())
            .replace("/usr/local/bin/weappd", "weappd")
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", &format!("PATH=$PWD/bin:$PATH; {}", self.own(line))])
            .current_dir(self.dir.path())
            .env_remove("WEAPP_SECRET");
        for (name, value) in &self.env {
            shell.env(name, value);
        }
        shell
    }

    /// Types a line and gives what it prints.
    fn types(&self, line: &str) -> String {
        let done = self.shell(line).output().expect("a shell");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{line}\n{said}\n{errors}");
        said
    }

    /// Types a line in a terminal of its own, and waits until it says `words`.
    fn starts(&self, name: &str, line: &str, words: &str) -> WeappdProcess {
        let mut process = WeappdProcess::spawn(name, &mut self.shell(&format!("exec {line}")));
        process.expect_line(words, |said| said.contains(words).then_some(()));
        process
    }
}

/// The part of a page under a heading.
fn section(page: &str, heading: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// Every block of a page, with its language.
fn all_blocks(page: &str) -> Vec<(String, String)> {
    let parts = page.split("```").skip(1).step_by(2);
    parts
        .map(|block| {
            let (language, text) = block.split_once('\n').unwrap_or((block, ""));
            (language.to_owned(), text.to_owned())
        })
        .collect()
}

/// The lines to type, without the words beside them and without `sudo`.
fn typed(block: &str) -> Vec<String> {
    let lines = block.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let line = line.split("   #").next().unwrap_or_default().trim();
            let line = line.strip_prefix("sudo -u weappd ").unwrap_or(line);
            line.strip_prefix("sudo ").unwrap_or(line).to_owned()
        })
        .collect()
}

/// What differs between the two languages of docs/run.md.
struct RunPage {
    file: &'static str,
    language: &'static str,
    trial: &'static str,
    backup: &'static str,
    update: &'static str,
    code: &'static str,
    serves: &'static str,
}

const RUN_PAGES: [RunPage; 2] = [
    RunPage {
        file: "docs/run.md",
        language: "en",
        trial: "Before you have a domain and an AppSecret",
        backup: "What to back up",
        update: "Updating",
        code: "the code",
        serves: "serves",
    },
    RunPage {
        file: "docs/run.zh-CN.md",
        language: "zh",
        trial: "还没有域名和 AppSecret 时先试",
        backup: "备份什么",
        update: "更新",
        code: "上一条的code",
        serves: "开始服务",
    },
];

/// What the trial of docs/run.md leads to: weappd serves, and somebody is logged in.
struct DocTrial {
    reader: DocReader,
    _simulator: WeappdProcess,
    weappd: WeappdProcess,
    skey: String,
}

/// Follows the trial: a certificate of one's own, a simulated WeChat, a login.
fn trial(page: &RunPage) -> DocTrial {
    let [http, https, internal, wechat] = free_ports();
    let ports = [
        (8080, http),
        (8443, https),
        (8081, internal),
        (8082, wechat),
    ];
    let reader = DocReader::new(&ports);
    let text = section(&read(page.file), page.trial);
    let blocks = all_blocks(&text);
    let [(_, make), (_, toml), (_, ask)] = &blocks[..] else {
        panic!("{}: {} blocks", page.file, blocks.len());
    };
    reader.types(&format!("weappd init --lang {}", page.language));
    let lines = typed(make);
    reader.types(&lines[0]);
    let simulator = format!("{} --port {wechat}", lines[1]);
    let simulator = reader.starts("weappd simulate", &simulator, "http://");
    // The file that `init` wrote, with the lines of the page and its AppID.
    let appid = lines[1].split_whitespace().last().expect("an AppID");
    let file = fs::read_to_string(reader.at("weappd.toml")).expect("weappd.toml");
    let file = format!(
        "{}\n{}\n[internal]\nlisten = \"127.0.0.1:{internal}\"\n",
        file.replace("wx0123456789abcdef", appid),
        reader.own(toml)
    );
    fs::write(reader.at("weappd.toml"), file).expect("written");
    fs::copy(
        checkout().join("examples/node-chat/server.js"),
        reader.at("app.js"),
    )
    .expect("an app");
    assert!(
        text.contains("`WEAPP_SECRET=secret weappd serve`"),
        "{}",
        page.file
    );
    let serve = format!(
        "env WEAPP_SECRET=secret weappd serve --lang {}",
        page.language
    );
    let weappd = reader.starts("weappd serve", &serve, page.serves);
    let ask = typed(ask);
    assert!(!reader.types(&ask[0]).is_empty());
    let code: Value = serde_json::from_str(&reader.types(&ask[1])).expect("JSON");
    let code = code["code"].as_str().expect("a code");
    assert!(ask[2].contains(page.code), "{}", ask[2]);
    let login = reader.types(&ask[2].replace(page.code, code));
    let login: Value = serde_json::from_str(&login).expect("JSON");
    assert_eq!(login["code"], 0, "{login}");
    let skey = login["data"]["skey"].as_str().expect("an skey").to_owned();
    DocTrial {
        reader,
        _simulator: simulator,
        weappd,
        skey,
    }
}

/// Who the user is, asked as the page asks.
fn user(reader: &DocReader, skey: &str) -> Value {
    let said = reader.types(&format!(
        "curl -s --cacert 1_www.example.com_bundle.crt --resolve www.example.com:8443:127.0.0.1 \
         -H 'X-WX-Skey: {skey}' https://www.example.com:8443/weapp/user"
    ));
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn run_md_leads_to_a_login_an_update_and_a_backup_that_comes_back() {
    for page in &RUN_PAGES {
        let DocTrial {
            reader,
            _simulator,
            mut weappd,
            skey,
        } = trial(page);
        // An app's update, and the look for mistakes before a restart.
        let update = section(&read(page.file), page.update);
        let restart = update
            .split('`')
            .find(|word| word.contains("app restart app"));
        reader.types(&typed(restart.expect("a command"))[0]);
        let check = all_blocks(&update).pop().expect("a block").1;
        fs::write(reader.at("weappd.env"), "WEAPP_SECRET=secret\n").expect("written");
        let env = reader.at("weappd.env").display().to_string();
        reader.types(&typed(&check)[0].replace("/etc/weappd.env", &env));

        // A copy while it runs, and one of all of it.
        let backup = section(&read(page.file), page.backup);
        let blocks = all_blocks(&backup);
        let [(_, whole), (_, database)] = &blocks[..] else {
            panic!("{}: {} blocks", page.file, blocks.len());
        };
        reader.types(&typed(database)[0]);
        let users = reader.types("sqlite3 weappd-copy.db 'SELECT count(*) FROM users'");
        assert_eq!(users.trim(), "1", "{}", page.file);
        reader.types("weappd stop");
        assert!(weappd.wait(PATIENCE).is_some());
        let tar = typed(whole)
            .into_iter()
            .find(|line| line.starts_with("tar "))
            .expect("tar");
        let copies = tempfile::tempdir().expect("a folder");
        let root = format!("{}/", copies.path().display());
        reader.types(&tar.replace("/root/", &root));
        drop(reader.types("rm -r .weappd weappd.toml"));
        reader.types(&format!("tar -xzf {root}shop-backup.tar.gz"));
        let serve = format!(
            "env WEAPP_SECRET=secret weappd serve --lang {}",
            page.language
        );
        let _weappd = reader.starts("weappd serve", &serve, page.serves);
        assert_eq!(user(&reader, &skey)["code"], 0, "the session came back");
    }
}

/// The section of docs/run.md that begins so, and its blocks in one language.
fn run_blocks(heading: &str, language: &str) -> Vec<String> {
    let blocks = all_blocks(&section(&read(RUN_PAGES[0].file), heading));
    let fitting = blocks.into_iter().filter(|(known, _)| known == language);
    fitting.map(|(_, text)| text).collect()
}

#[test]
fn the_certificate_is_renewed_and_the_logs_are_found_as_run_md_says() {
    let DocTrial {
        reader,
        _simulator,
        weappd,
        ..
    } = trial(&RUN_PAGES[0]);
    // A new certificate at the place of the old one, which curl then wants.
    let make = section(&read(RUN_PAGES[0].file), RUN_PAGES[0].trial);
    reader.types("cp 1_www.example.com_bundle.crt old.crt");
    reader.types(&typed(&all_blocks(&make)[0].1)[0]);
    let ask = |ca: &str| {
        format!(
            "curl -s --cacert {ca} --resolve www.example.com:8443:127.0.0.1 https://www.example.com:8443/"
        )
    };
    reader.types(&ask("old.crt"));
    let hook = run_blocks("Renewing the certificate", "").concat();
    assert!(hook.contains("systemctl reload weappd"));
    let unit = read(RUN_PAGES[0].file);
    let reload = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecReload="));
    reader.types(reload.expect("what systemctl reload does"));
    reader.types(&ask("1_www.example.com_bundle.crt"));
    let refused = reader.shell(&ask("old.crt")).output().expect("a shell");
    assert!(
        !refused.status.success(),
        "the old certificate is still served"
    );
    // The app's output, and a request found by the id that its answer had.
    let logs = run_blocks("Logs", "").pop().expect("a command");
    reader.types(logs.trim());
    let refused = ask("1_www.example.com_bundle.crt -D -") + "weapp/session";
    let headers = reader.types(&refused);
    let headers = headers.to_ascii_lowercase();
    let id = headers
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let id = id.expect("an id").trim().to_owned();
    let begun = FairTimer::start();
    while !weappd.transcript().contains(&id) {
        assert!(begun.fair() < PATIENCE, "{id} is not in the log");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn mysql_takes_over_as_run_md_says() {
    let db = MariaDb::start(&[]);
    let sql = run_blocks("Moving to MySQL", "sql").concat();
    // Only the tests' own account has its name already.
    db.query("mysql", "DROP USER 'weappd'@'127.0.0.1'");
    db.query("mysql", &sql);
    let DocTrial {
        mut reader,
        _simulator,
        mut weappd,
        skey,
    } = trial(&RUN_PAGES[0]);
    reader.types("weappd stop");
    assert!(weappd.wait(PATIENCE).is_some());
    let toml = run_blocks("Moving to MySQL", "toml").concat();
    let url = toml.split("# ").nth(1).expect("the address").trim();
    let url = url.replace(":3306", &format!(":{}", db.port));
    reader.env.push(("WEAPPD_STORE", url));
    let file = fs::read_to_string(reader.at("weappd.toml")).expect("weappd.toml");
    fs::write(reader.at("weappd.toml"), file + &toml).expect("written");
    let serve = "env WEAPP_SECRET=secret weappd serve --lang en";
    let _weappd = reader.starts("weappd serve", serve, "serves");
    assert_eq!(user(&reader, &skey)["code"], -1, "the phone logs in anew");
    let trial = section(&read(RUN_PAGES[0].file), RUN_PAGES[0].trial);
    let ask = typed(&all_blocks(&trial)[2].1);
    let code: Value = serde_json::from_str(&reader.types(&ask[1])).expect("JSON");
    let login = reader.types(&ask[2].replace("the code", code["code"].as_str().expect("a code")));
    let login: Value = serde_json::from_str(&login).expect("JSON");
    assert_eq!(login["code"], 0, "{login}");
    assert_eq!(
        db.query("weappd", "SELECT COUNT(*) FROM weappd_users")
            .trim(),
        "1"
    );
}

#[test]
fn both_languages_of_run_md_have_the_same_commands() {
    let words = |file: &str| {
        let mut all = Vec::new();
        for (language, text) in all_blocks(&read(file)) {
            for line in text.lines() {
                // Words for people stand behind a #, and in the code's place.
                let line = line.split('#').next().unwrap_or_default().trim_end();
                let line = RUN_PAGES.iter().fold(line.to_owned(), |line, page| {
                    line.replace(page.code, "CODE")
                });
                all.push(format!("{language} {line}"));
            }
        }
        all
    };
    assert_eq!(words(RUN_PAGES[0].file), words(RUN_PAGES[1].file));
}

// The app answers while a shell is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_in_front_works_as_the_documents_have_it() {
    let app = upstream::serve(upstream::echo());
    let toml = block_with(&read("docs/run.md"), "trusted_proxies = [\"loopback\"]");
    let lines: Vec<&str> = toml.lines().collect();
    let (site, edge) = toml.split_once("[edge]\n").expect("a section");
    assert!(lines.len() >= 5 && site.contains("tls = \"off\""), "{toml}");
    let edge = edge
        .lines()
        .find(|line| line.starts_with("trusted"))
        .expect("a line");
    let world = WorldRecipe::new()
        .long_form()
        .edge(edge)
        .sections(&format!(
            "[sites.\"www.example.com\"]\ntls = \"off\"\nproxy = \"{app}\"\n"
        ))
        .serve();
    let [port] = free_ports();
    let page = read("docs/wire/headers.md");
    let nginx = all_blocks(&page)
        .into_iter()
        .find(|(language, _)| language == "nginx");
    let (_, nginx) = nginx.expect("nginx's part");
    let reader = DocReader::new(&[(8080, world.http.port())]);
    let make = section(&read("docs/run.md"), RUN_PAGES[0].trial);
    reader.types(&typed(&all_blocks(&make)[0].1)[0]);
    let nginx = reader
        .own(&nginx)
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"));
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path tmp-{name};\n"))
        .concat();
    let whole = format!(
        "daemon off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{nginx}}}\n"
    );
    fs::write(reader.at("nginx.conf"), whole).expect("written");
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"];
    let program = program.into_iter().find(|path| Path::new(path).exists());
    let line = format!("exec {} -p . -c nginx.conf", program.unwrap_or("nginx"));
    let _nginx = WeappdProcess::spawn("nginx", &mut reader.shell(&line));
    let ask = format!(
        "curl -s --cacert 1_www.example.com_bundle.crt --resolve www.example.com:{port}:127.0.0.1 \
         https://www.example.com:{port}/orders"
    );
    let begun = FairTimer::start();
    let said = loop {
        let done = reader.shell(&ask).output().expect("a shell");
        if done.status.success() {
            break String::from_utf8_lossy(&done.stdout).into_owned();
        }
        assert!(begun.fair() < PATIENCE, "nginx never answers: {done:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(said.contains("https"), "the app is told the scheme: {said}");
}

/// Files that stand in documents are read as they stand: no key is unknown.
#[test]
fn every_piece_of_weappd_toml_in_the_documents_is_understood() {
    let mut pages = vec!["README.md".to_owned(), "README.zh-CN.md".to_owned()];
    for folder in [
        "docs",
        "docs/wire",
        "examples/koa-hello",
        "examples/node-chat",
    ] {
        for entry in fs::read_dir(checkout().join(folder)).expect(folder) {
            let name = entry
                .expect(folder)
                .file_name()
                .into_string()
                .expect("text");
            if name.rsplit('.').next() == Some("md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    let mut count = 0;
    for page in pages {
        for (language, text) in all_blocks(&read(&page)) {
            if language != "toml" {
                continue;
            }
            count += 1;
            let dir = tempfile::tempdir().expect("a folder");
            // A piece of a file stands behind the smallest file.
            let is_whole = text.contains("domain") || text.contains("[sites.");
            let base = if is_whole {
                ""
            } else {
                "domain = \"www.example.com\"\ntls = \"off\"\nproxy = 1\n"
            };
            fs::write(dir.path().join("weappd.toml"), format!("{base}{text}")).expect("written");
            let check = Command::new(WEAPPD)
                .args(["check", "--json", "--lang", "en"])
                .current_dir(dir.path())
                .output()
                .expect("weappd runs");
            let told = String::from_utf8_lossy(&check.stdout).into_owned()
                + &String::from_utf8_lossy(&check.stderr);
            for mistake in ["unknown key", "duplicate key", "expected", "TOML"] {
                assert!(!told.contains(mistake), "{page}:\n{text}\n{told}");
            }
        }
    }
    assert!(count >= 12, "{count} pieces");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_in_the_wire_documents_are_answered() {
    const TOKEN: &str = "a-token-of-the-internal-api-0001";
    let world = WorldRecipe::new()
        .internal(&format!("token = \"{TOKEN}\""))
        .serve();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let site = world.site();
    let session = site.get("/weapp/session");
    let session = session.header("x-wx-skey", phone.skey.as_deref().expect("logged in"));
    let session = http::json(&session.send().await);
    let openid = session["user"]["openid"]
        .as_str()
        .expect("an openid")
        .to_owned();
    let mut reader = DocReader::new(&[(8081, world.internal.port())]);
    reader
        .env
        .push(("WEAPPD_INTERNAL_URL", format!("http://{}", world.internal)));
    reader.env.push(("WEAPPD_TOKEN", TOKEN.to_owned()));
    let mut answers = Vec::new();
    for page in ["docs/wire/gateway.md", "docs/wire/session.md"] {
        for (_, text) in all_blocks(&read(page)) {
            if !text.starts_with("curl ") {
                continue;
            }
            let data = world.dir().join(".weappd").display().to_string();
            let line = text
                .replace("curl ", "curl -s ")
                .replace("o8pBM9VMAYTv1RZAXUhiDN8NLafQ", &openid)
                .replace("\"o…\"", &format!("\"{openid}\""))
                .replace("--unix-socket .weappd", &format!("--unix-socket {data}"));
            let auth = format!("-H 'Authorization: Bearer {TOKEN}' -d");
            let line = if page.contains("gateway") {
                line.replacen("-d", &auth, 1)
            } else {
                line
            };
            answers.push(reader.types(&line));
        }
    }
    let json = |at: usize| -> Value { serde_json::from_str(&answers[at]).expect("JSON") };
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(json(0)["errcode"], 0, "{answers:?}");
    assert_eq!(
        json(1)["signature"].as_str().map(str::len),
        Some(64),
        "{answers:?}"
    );
    assert_eq!(
        json(2)["sessions"].as_array().map(Vec::len),
        Some(1),
        "{answers:?}"
    );
}
