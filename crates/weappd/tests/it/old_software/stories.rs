//! What the users of those years did, told once for both generations.
//!
//! The first seven functions are whole tests; three of them need to be told the weappd they
//! run against.

use serde_json::{Value, json};

use super::production::ProductionServer;
use super::{ClientDriver, OldAppServer, OldEndpoint, OldSoftware, WaferVersion};
use crate::mariadb::MariaDb;

/// Express and the Wafer 1 SDKs, with weappd as session server and tunnel server.
pub(crate) fn wafer1_runs_unchanged() {
    let software = OldSoftware::install();
    let mut weappd = ProductionServer::start(&software, &OldAppServer::Wafer1);
    let mut alice = ClientDriver::spawn(&software, WaferVersion::One, &weappd.endpoint, "alice");
    let mut bob = ClientDriver::spawn(&software, WaferVersion::One, &weappd.endpoint, "bob");
    logs_in_and_in_again(WaferVersion::One, &mut alice);
    goes_on_after_a_kill(&mut weappd, &mut alice, &mut bob);
    let nick = two_users_chat(&mut alice, &mut bob);
    weappd.expect_log(&format!("leave {nick}"));
}

/// The same on a site that speaks Wafer 1 itself, alone and beside Wafer 2: weappd answers
/// the login, and the tunnel is the SDK's.
pub(crate) fn wafer1_runs_where_weappd_logs_in() {
    let software = OldSoftware::install();
    for dialects in ["[\"wafer1\"]", "[\"wafer1\", \"wafer2\"]", "[]"] {
        let site = format!("dialects = {dialects}");
        let weappd = ProductionServer::start_on(&software, &OldAppServer::Wafer1, &site, "");
        let mut alice =
            ClientDriver::spawn(&software, WaferVersion::One, &weappd.endpoint, "alice");
        let mut bob = ClientDriver::spawn(&software, WaferVersion::One, &weappd.endpoint, "bob");
        two_users_chat(&mut alice, &mut bob);
    }
}

/// Koa and `wafer-node-sdk`, whose users weappd logs in, in the SDK's own `cAuth`.
pub(crate) fn wafer2_runs_where_weappd_logs_in() {
    let software = OldSoftware::install();
    for dialects in ["[\"wafer2\"]", "[\"wafer1\", \"wafer2\"]"] {
        let store = MariaDb::start(&["cAuth"]);
        store.query("cAuth", super::beside::TABLE);
        let session = format!("\n[session]\nstore = '{}'\n", store.url("cAuth"));
        let server = OldAppServer::Wafer2(&store);
        let site = format!("dialects = {dialects}");
        let weappd = ProductionServer::start_on(&software, &server, &site, &session);
        let mut alice =
            ClientDriver::spawn(&software, WaferVersion::Two, &weappd.endpoint, "alice");
        let mut bob = ClientDriver::spawn(&software, WaferVersion::Two, &weappd.endpoint, "bob");
        two_users_chat(&mut alice, &mut bob);
    }
}

/// Koa and the Wafer 2 SDKs, with sessions of their own and weappd as tunnel server.
pub(crate) fn wafer2_runs_unchanged() {
    let software = OldSoftware::install();
    let store = MariaDb::start(&["cAuth"]);
    let mut weappd = ProductionServer::start(&software, &OldAppServer::Wafer2(&store));
    let mut alice = ClientDriver::spawn(&software, WaferVersion::Two, &weappd.endpoint, "alice");
    let mut bob = ClientDriver::spawn(&software, WaferVersion::Two, &weappd.endpoint, "bob");
    logs_in_and_in_again(WaferVersion::Two, &mut alice);
    goes_on_after_a_kill(&mut weappd, &mut alice, &mut bob);
    let nick = two_users_chat(&mut alice, &mut bob);
    weappd.expect_log(&format!("leave {nick}"));
    let users = store.query("cAuth", "SELECT count(*) FROM cSessionInfo");
    assert_eq!(users, "2");
}

/// The Wafer 1 client SDK at weappd's own `/login` and `/user`; the site turns them on.
pub(crate) fn wafer1_logs_in_at_weappd(endpoint: &OldEndpoint) {
    let software = OldSoftware::install();
    let mut alice = ClientDriver::spawn(&software, WaferVersion::One, endpoint, "alice");
    logs_in_and_in_again(WaferVersion::One, &mut alice);
}

/// The Wafer 2 client SDK at weappd's own `/weapp/login` and `/weapp/user`.
pub(crate) fn wafer2_logs_in_at_weappd(endpoint: &OldEndpoint) {
    let software = OldSoftware::install();
    let mut alice = ClientDriver::spawn(&software, WaferVersion::Two, endpoint, "alice");
    logs_in_and_in_again(WaferVersion::Two, &mut alice);
}

/// A client SDK in a chat room that speaks the demos' packets: weappd's own, as
/// `weappd dev` runs it, and the example's.
pub(crate) fn chats_in_the_demo_room(wafer: WaferVersion, endpoint: &OldEndpoint) {
    let software = OldSoftware::install();
    let mut alice = ClientDriver::spawn(&software, wafer, endpoint, "alice");
    let mut bob = ClientDriver::spawn(&software, wafer, endpoint, "bob");
    let (a, b) = (nick_after_login(&mut alice), nick_after_login(&mut bob));
    meet_and_speak(&mut alice, &a, &mut bob, &b);
    drive_through_a_tunnel(&mut alice, &a, &mut bob);
    alice.close_tunnel();
    assert_eq!(bob.expect_people("leave", &a), 1);
}

/// Logs in, asks who it is, loses the session, and is logged in again by its SDK without
/// noticing; then refuses authorisation and cannot log in anew.
pub(crate) fn logs_in_and_in_again(wafer: WaferVersion, phone: &mut ClientDriver) {
    let who = phone.log_in();
    let nick = who["nickName"].as_str().expect("a nickName").to_owned();
    let first = skey(&phone.session());
    assert_eq!(user_of(wafer, &phone.get_user())["nickName"], nick);
    assert_eq!(
        skey(&phone.session()),
        first,
        "a checked request keeps the session"
    );

    phone.spoil_session();
    assert_eq!(user_of(wafer, &phone.get_user())["nickName"], nick);
    let second = skey(&phone.session());
    assert_ne!(second, first, "the SDK logged in again by itself");

    phone.phone("expire_session", &json!({}));
    phone.log_in();
    assert_eq!(user_of(wafer, &phone.get_user())["nickName"], nick);

    phone.phone("authorize", &json!({"allow": false}));
    phone.phone("expire_session", &json!({}));
    let refused = phone.log_in_refused();
    if wafer == WaferVersion::One {
        assert_eq!(refused["type"], "ERR_WX_GET_USER_INFO");
    }
    phone.phone("authorize", &json!({"allow": true}));
    phone.log_in();
}

/// The business server is killed in the middle of a talk. It forgets who was there, as a
/// chat room in memory does; whoever leaves and comes in again is served by the next one.
fn goes_on_after_a_kill(
    weappd: &mut ProductionServer,
    alice: &mut ClientDriver,
    bob: &mut ClientDriver,
) {
    let (a, b) = (nick_after_login(alice), nick_after_login(bob));
    meet_and_speak(alice, &a, bob, &b);
    weappd.kill_server();
    alice.close_tunnel();
    bob.close_tunnel();
}

/// Two users meet in the chat room and speak; one loses the wire, comes back, and is
/// thrown out by the server; the other leaves by itself. The name of the other.
///
/// Needs the chat room of `old_software/chat-room.js` behind the tunnel.
pub(crate) fn two_users_chat(alice: &mut ClientDriver, bob: &mut ClientDriver) -> String {
    let (a, b) = (nick_after_login(alice), nick_after_login(bob));
    meet_and_speak(alice, &a, bob, &b);
    drive_through_a_tunnel(alice, &a, bob);

    alice.order(&json!({"do": "emit", "type": "kick_me"}));
    alice.expect_tunnel("close");
    assert_eq!(alice.tunnel_status(), "CLOSED");
    assert_eq!(bob.expect_people("leave", &a), 1);
    bob.close_tunnel();
    assert_eq!(bob.tunnel_status(), "CLOSED");
    b
}

/// Alice's socket is cut without a goodbye: Bob sees her go, her SDK fetches a new tunnel
/// by itself, and she is heard again.
pub(crate) fn drive_through_a_tunnel(alice: &mut ClientDriver, a: &str, bob: &mut ClientDriver) {
    alice.cut();
    alice.expect_tunnel("reconnecting");
    assert_eq!(bob.expect_people("leave", a), 1);
    alice.expect_tunnel("reconnect");
    assert_eq!(bob.expect_people("enter", a), 2);
    alice.speak("我回来了");
    bob.expect_word(a, "我回来了");
}

/// Both enter, speak in an order that both hear, with everything JSON has to escape.
///
/// Needs any chat room that speaks the demos' packets, weappd's own included.
pub(crate) fn meet_and_speak(alice: &mut ClientDriver, a: &str, bob: &mut ClientDriver, b: &str) {
    alice.open_tunnel();
    assert_eq!(alice.expect_people("enter", a), 1);
    bob.open_tunnel();
    assert_eq!(alice.expect_people("enter", b), 2);
    assert_eq!(bob.expect_people("enter", b), 2);

    for word in ["hello", "大家好 \"hi\"", "a:b/c\\d 🀄", "<&>\u{2028}\t"] {
        alice.speak(word);
        bob.expect_word(a, word);
        alice.expect_word(a, word);
        bob.speak(word);
        alice.expect_word(b, word);
        bob.expect_word(b, word);
    }
    assert_eq!(alice.tunnel_status(), "ACTIVE");
}

/// Logs in; the name the others will see.
pub(crate) fn nick_after_login(phone: &mut ClientDriver) -> String {
    let who = phone.log_in();
    who["nickName"].as_str().expect("a nickName").to_owned()
}

fn user_of(wafer: WaferVersion, body: &Value) -> Value {
    assert_eq!(body["code"], 0, "{body}");
    match wafer {
        WaferVersion::One => body["data"]["userInfo"].clone(),
        WaferVersion::Two => body["data"].clone(),
    }
}

fn skey(session: &Value) -> String {
    session["skey"].as_str().expect("a stored skey").to_owned()
}
