//! The move: the real `wafer-node-sdk` and weappd on one MariaDB, each with its own logins,
//! each asked for the other's.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::production::ProductionServer;
use super::{OldAppServer, OldSoftware};
use crate::http::{self, TestClient};
use crate::mariadb::MariaDb;
use crate::process::PATIENCE;

/// Wafer 2's `cAuth.sql`, as its quickstarts have it.
pub(super) const TABLE: &str = "CREATE TABLE cSessionInfo (
    open_id varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
    uuid varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
    skey varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
    create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_visit_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    session_key varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
    user_info varchar(2048) COLLATE utf8mb4_unicode_ci NOT NULL,
    PRIMARY KEY (open_id),
    KEY openid (open_id) USING BTREE,
    KEY skey (skey) USING BTREE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci";

/// Both servers, and everybody's phone.
struct DataMove {
    store: MariaDb,
    production: ProductionServer,
    site: TestClient,
    api: TestClient,
    wechat: TestClient,
}

impl DataMove {
    fn new() -> Self {
        let software = OldSoftware::install();
        let store = MariaDb::start(&["cAuth"]);
        store.query("cAuth", TABLE);
        let session = format!("\n[session]\nstore = '{}'\n", store.url("cAuth"));
        let production =
            ProductionServer::start_with(&software, &OldAppServer::Wafer2(&store), &session);
        Self {
            site: production.site(),
            api: production.api(),
            wechat: production.wechat(),
            store,
            production,
        }
    }

    async fn phone(&self, user: &str, deed: &str) -> Value {
        let path = format!("/phone/{user}/{deed}");
        let answer = self.wechat.post(&path).json(&json!({})).send().await;
        http::json(&answer)
    }

    /// A login at the old server, with user data or with the code alone; the skey.
    async fn log_in_there(&self, user: &str, has_data: bool) -> String {
        let code = self.phone(user, "login").await;
        let mut login = self.site.get("/weapp/login");
        login = login.header("X-WX-Code", text(&code["code"]));
        if has_data {
            let data = self.phone(user, "user_info").await;
            login = login
                .header("X-WX-Encrypted-Data", text(&data["encryptedData"]))
                .header("X-WX-IV", text(&data["iv"]));
        }
        let answer = http::json(&login.send().await);
        assert_eq!(answer["code"], 0, "{user}: {answer}");
        let skey = text(&answer["data"]["skey"]).to_owned();
        assert_eq!(skey.len(), 40, "a sha1, so the old server's");
        skey
    }

    /// A login at weappd; the skey.
    async fn log_in_here(&self, user: &str) -> String {
        let code = self.phone(user, "login").await;
        let data = self.phone(user, "user_info").await;
        let login = self.site.post("/weapp/session").json(&json!({
            "code": code["code"], "encryptedData": data["encryptedData"], "iv": data["iv"],
        }));
        let answer = http::json(&login.send().await);
        let skey = text(&answer["skey"]).to_owned();
        assert_eq!(skey.len(), 76, "weappd's");
        skey
    }

    /// Whose skey it is, to the old server.
    async fn known_there(&self, skey: &str) -> Option<String> {
        who(&self.site, skey).await
    }

    /// Whose skey it is, to weappd.
    async fn known_here(&self, skey: &str) -> Option<String> {
        who(&self.api, skey).await
    }

    async fn assert_known(&self, skey: &str) {
        let there = self.known_there(skey).await;
        assert!(there.is_some(), "unknown to the old server");
        assert_eq!(self.known_here(skey).await, there);
    }

    /// Waits until weappd has heard that the old server ended it.
    async fn wait_until_unknown_here(&self, skey: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.known_here(skey).await.is_some() {
            assert!(Instant::now() < deadline, "still known to weappd");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// The name of the user, by `/weapp/user`.
async fn who(server: &TestClient, skey: &str) -> Option<String> {
    let asked = server.get("/weapp/user").header("X-WX-Skey", skey);
    let answer = http::json(&asked.send().await);
    let data = &answer["data"];
    (answer["code"] == 0).then(|| format!("{} {}", text(&data["openId"]), text(&data["nickName"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

#[tokio::test]
async fn sessions_of_the_node_sdk_and_of_weappd_hold_at_both() {
    let both = DataMove::new();
    let first = both.log_in_there("alice", true).await;
    both.assert_known(&first).await;

    let second = both.log_in_here("alice").await;
    both.assert_known(&second).await;
    assert_eq!(both.known_there(&first).await, None);
    assert_eq!(both.known_here(&first).await, None, "at once");

    let third = both.log_in_there("alice", false).await;
    both.assert_known(&third).await;
    assert_eq!(both.known_there(&second).await, None);
    both.wait_until_unknown_here(&second).await;

    let openid = both.known_here(&third).await.expect("known");
    let openid = openid.split(' ').next().expect("an openid");
    both.production
        .weappd(&["session", "revoke", "--openid", openid]);
    assert_eq!(both.known_there(&third).await, None);
    assert_eq!(both.known_here(&third).await, None);

    let fourth = both.log_in_there("alice", true).await;
    both.assert_known(&fourth).await;

    // A user whom weappd made logs in there with the code alone, as that SDK allows to
    // those it knows.
    both.log_in_here("bob").await;
    let bob = both.log_in_there("bob", false).await;
    both.assert_known(&bob).await;

    // That SDK leaves create_time at a user's first login, however long ago.
    let long_ago = "UPDATE cSessionInfo SET create_time = '2020-01-01'";
    both.store.query("cAuth", long_ago);
    let today = both.log_in_there("bob", false).await;
    both.assert_known(&today).await;
}

#[tokio::test]
async fn hundreds_of_logins_at_the_node_sdk_and_at_weappd_lose_nobody() {
    let both = DataMove::new();
    let logins = (0..200).map(|n| {
        let both = &both;
        async move {
            let user = format!("user{n}");
            let is_there = n % 2 == 0;
            let skey = if is_there {
                both.log_in_there(&user, true).await
            } else {
                both.log_in_here(&user).await
            };
            // At the other one, at once.
            let seen = if is_there {
                both.known_here(&skey).await
            } else {
                both.known_there(&skey).await
            };
            assert!(seen.is_some(), "{user} is unknown at the other");
            skey
        }
    });
    for skey in join_all(logins).await {
        both.assert_known(&skey).await;
    }
    let users = both
        .store
        .query("cAuth", "SELECT COUNT(*) FROM cSessionInfo");
    assert_eq!(users, "200");
}
