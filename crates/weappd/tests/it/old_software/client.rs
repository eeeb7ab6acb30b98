//! A mini program on a simulated phone: the real client SDK, taking orders from a test.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};

use super::{OldEndpoint, OldSoftware, WaferVersion};
use crate::process::{PATIENCE, WeappdProcess};

/// One phone with the real `wafer-client-sdk` or `wafer2-client-sdk` on it.
///
/// Orders and events are the JSON lines of `old_software/client.js`. An event nobody
/// asked for yet is kept until somebody does.
pub(crate) struct ClientDriver {
    user: String,
    process: WeappdProcess,
    unread: VecDeque<Value>,
}

impl ClientDriver {
    /// Starts the phone of `user`, whose mini program points at `endpoint`.
    pub(crate) fn spawn(
        software: &OldSoftware,
        wafer: WaferVersion,
        endpoint: &OldEndpoint,
        user: &str,
    ) -> Self {
        let script = match wafer {
            WaferVersion::One => "client-wafer1.js",
            WaferVersion::Two => "client-wafer2.js",
        };
        let at = |name: &str| format!("{}{}/{name}", endpoint.site_url, wafer.prefix());
        let mut command = software.node(script);
        command
            .env("USER_NAME", user)
            .env("WECHAT_URL", &endpoint.wechat_url)
            .env("LOGIN_URL", at("login"))
            .env("USER_URL", at("user"))
            .env("TUNNEL_URL", at("tunnel"));
        if let Some(ca) = &endpoint.ca_pem_path {
            command.env("NODE_EXTRA_CA_CERTS", ca);
        }
        let mut driver = Self {
            user: user.to_owned(),
            process: WeappdProcess::spawn(user, &mut command),
            unread: VecDeque::new(),
        };
        driver.expect("ready");
        driver
    }

    /// Gives an order; what comes of it are events.
    pub(crate) fn order(&mut self, order: &Value) {
        self.process.send_line(&order.to_string());
    }

    /// The oldest unread event of this kind, waiting for it if need be.
    pub(crate) fn expect(&mut self, event: &str) -> Value {
        self.expect_that(event, |seen| seen["event"] == event)
    }

    /// The oldest unread event that `fits`, waiting for it if need be.
    pub(crate) fn expect_that(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unread.iter().position(&fits) {
            return self.unread.remove(at).expect("an event just found");
        }
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.process.next_line(deadline) {
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            assert_ne!(event["event"], "crash", "{} threw: {event}", self.user);
            if fits(&event) {
                return event;
            }
            self.unread.push_back(event);
        }
        panic!(
            "{} never saw {what}\n{}",
            self.user,
            self.process.transcript()
        );
    }

    /// Logs in through the SDK; the userInfo it hands to the mini program.
    pub(crate) fn log_in(&mut self) -> Value {
        self.order(&json!({"do": "login"}));
        let event = self.expect_that("login", |e| {
            e["event"] == "login" || e["event"] == "login_failed"
        });
        assert_eq!(event["event"], "login", "{}: {event}", self.user);
        event["userInfo"].clone()
    }

    /// Logs in, and expects the SDK to report that it could not.
    pub(crate) fn log_in_refused(&mut self) -> Value {
        self.order(&json!({"do": "login"}));
        self.expect("login_failed")
    }

    /// Asks for the user URL with the session that is stored, and nothing but it: the
    /// body of the answer.
    pub(crate) fn get_user(&mut self) -> Value {
        self.order(&json!({"do": "request", "login": false}));
        let event = self.expect_that("an answer", |e| {
            e["event"] == "response" || e["event"] == "request_failed"
        });
        assert_eq!(event["event"], "response", "{}: {event}", self.user);
        assert_eq!(event["status"], 200, "{}: {event}", self.user);
        event["data"].clone()
    }

    /// The session in the phone's storage.
    pub(crate) fn session(&mut self) -> Value {
        self.order(&json!({"do": "session"}));
        self.expect("session")["session"].clone()
    }

    /// Makes the stored skey one the server does not know (any more).
    pub(crate) fn spoil_session(&mut self) {
        self.order(&json!({"do": "spoil_session"}));
        self.expect("session");
    }

    /// What the simulated phone answers: `authorize`, `expire_session` ...
    pub(crate) fn phone(&mut self, path: &str, body: &Value) -> Value {
        self.order(&json!({"do": "phone", "path": path, "body": body}));
        self.expect("phone")["answer"].clone()
    }

    /// Opens a tunnel and waits until it is connected.
    pub(crate) fn open_tunnel(&mut self) {
        self.order(&json!({"do": "open_tunnel"}));
        let event = self.expect_that("connect", |e| {
            e["event"] == "tunnel" && (e["type"] == "connect" || e["type"] == "error")
        });
        assert_eq!(event["type"], "connect", "{}: {event}", self.user);
    }

    /// The content of the oldest unread tunnel event of type `kind`.
    pub(crate) fn expect_tunnel(&mut self, kind: &str) -> Value {
        self.expect_that(kind, |e| e["event"] == "tunnel" && e["type"] == kind)["content"].clone()
    }

    /// Waits for a `people` message: who entered or left (`how`), and how many are there.
    pub(crate) fn expect_people(&mut self, how: &str, name: &str) -> u64 {
        let event = self.expect_that(&format!("{name} {how}"), |e| {
            e["type"] == "people" && e["content"][how]["nickName"] == name
        });
        event["content"]["total"].as_u64().expect("a total")
    }

    /// Says `word` in the chat room.
    pub(crate) fn speak(&mut self, word: &str) {
        self.order(&json!({"do": "speak", "word": word}));
    }

    /// Waits until `name` is heard saying `word`.
    pub(crate) fn expect_word(&mut self, name: &str, word: &str) {
        self.expect_that(&format!("{name}: {word}"), |e| {
            e["type"] == "speak"
                && e["content"]["who"]["nickName"] == name
                && e["content"]["word"] == word
        });
    }

    /// Cuts the wire under the socket, without a goodbye.
    pub(crate) fn cut(&mut self) {
        self.order(&json!({"do": "cut"}));
        let cut = self.expect("cut");
        assert_eq!(cut["was_open"], true, "{} had no socket", self.user);
    }

    /// The state the SDK says its tunnel is in: `ACTIVE`, `CLOSED` ...
    pub(crate) fn tunnel_status(&mut self) -> String {
        self.order(&json!({"do": "tunnel_status"}));
        let event = self.expect("tunnel_status");
        event["status"].as_str().unwrap_or("none").to_owned()
    }

    /// Hangs up for good, as leaving the page does.
    pub(crate) fn close_tunnel(&mut self) {
        self.order(&json!({"do": "close_tunnel"}));
        self.expect_tunnel("close");
    }
}
