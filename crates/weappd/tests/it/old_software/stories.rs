//! What the users of those years did, told once for both generations.

use serde_json::{Value, json};

use super::{ClientDriver, Wafer};

/// Logs in, asks who it is, loses the session, and is logged in again by its SDK without
/// noticing; then refuses authorisation and cannot log in anew.
pub(crate) fn logs_in_and_in_again(wafer: Wafer, phone: &mut ClientDriver) {
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
    if wafer == Wafer::One {
        assert_eq!(refused["type"], "ERR_WX_GET_USER_INFO");
    }
    phone.phone("authorize", &json!({"allow": true}));
    phone.log_in();
}

/// Two users meet in the chat room, speak, one drives through a tunnel under a mountain
/// and comes back, is thrown out by the server, and the other leaves by itself.
///
/// Needs the chat room of `old_software/chat-room.js` behind the tunnel.
pub(crate) fn two_users_chat(alice: &mut ClientDriver, bob: &mut ClientDriver) {
    let (a, b) = (nick_after_login(alice), nick_after_login(bob));
    meet_and_speak(alice, &a, bob, &b);

    alice.cut();
    alice.expect_tunnel("reconnecting");
    assert_eq!(bob.expect_people("leave", &a), 1);
    alice.expect_tunnel("reconnect");
    assert_eq!(bob.expect_people("enter", &a), 2);
    alice.speak("我回来了");
    bob.expect_word(&a, "我回来了");

    alice.order(&json!({"do": "emit", "type": "kick_me"}));
    alice.expect_tunnel("close");
    assert_eq!(alice.tunnel_status(), "CLOSED");
    assert_eq!(bob.expect_people("leave", &a), 1);
    bob.close_tunnel();
    assert_eq!(bob.tunnel_status(), "CLOSED");
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

fn user_of(wafer: Wafer, body: &Value) -> Value {
    assert_eq!(body["code"], 0, "{body}");
    match wafer {
        Wafer::One => body["data"]["userInfo"].clone(),
        Wafer::Two => body["data"].clone(),
    }
}

fn skey(session: &Value) -> String {
    session["skey"].as_str().expect("a stored skey").to_owned()
}
