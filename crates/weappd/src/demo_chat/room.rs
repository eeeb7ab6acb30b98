//! Who is in the room, and what everybody must hear.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::{ChatPush, DemoPacket, TunnelNews};

/// How many people fit into the room.
const MAX_PEOPLE: usize = 1000;
/// How many may have asked for a tunnel without having opened it.
const MAX_EXPECTED: usize = 1000;
/// The longest word, in characters; longer ones are cut.
const MAX_WORD: usize = 500;
/// The longest name shown, in characters.
const MAX_NAME: usize = 64;

/// Somebody as the others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatPerson {
    open_id: String,
    nick_name: String,
    avatar_url: String,
}

/// What follows from something that happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChatHeard {
    /// In this order.
    pub(super) pushes: Vec<ChatPush>,
    /// A line for the log.
    pub(super) line: Option<String>,
}

/// The room itself.
#[derive(Debug, Default)]
pub(super) struct ChatRoom {
    /// Asked for a tunnel, oldest first.
    expected: VecDeque<(String, ChatPerson)>,
    /// Connected, by tunnelId.
    here: BTreeMap<String, ChatPerson>,
}

impl ChatPerson {
    /// What the session knows of a user, cut to what a room shows. Somebody who logged in
    /// without a profile gets the name WeChat gives them too.
    pub(super) fn new(openid: &str, user: &Value) -> Self {
        let text = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default();
        let nick_name = match text("nickName") {
            "" => "微信用户".to_owned(),
            name => name.chars().take(MAX_NAME).collect(),
        };
        Self {
            open_id: openid.to_owned(),
            nick_name,
            avatar_url: text("avatarUrl").to_owned(),
        }
    }

    /// The name with nothing in it that could draw on a terminal.
    fn shown(&self) -> String {
        plain(&self.nick_name)
    }
}

impl ChatRoom {
    /// Remembers who will come through a tunnel that was just asked for.
    pub(super) fn expect_person(&mut self, tunnel_id: &str, person: ChatPerson) {
        if self.expected.len() >= MAX_EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back((tunnel_id.to_owned(), person));
    }

    /// Takes in what happened in a tunnel.
    pub(super) fn hear(&mut self, news: TunnelNews) -> ChatHeard {
        match news.packet {
            DemoPacket::Connect => self.enter(news.tunnel_id),
            DemoPacket::Message { kind, content } => self.listen(&news.tunnel_id, &kind, &content),
            DemoPacket::Close => self.forget(&news.tunnel_id),
            DemoPacket::Other => ChatHeard::default(),
        }
    }

    /// Somebody's tunnel is gone.
    pub(super) fn forget(&mut self, tunnel_id: &str) -> ChatHeard {
        self.expected.retain(|(id, _)| id != tunnel_id);
        let Some(person) = self.here.remove(tunnel_id) else {
            return ChatHeard::default();
        };
        let total = self.here.len();
        ChatHeard {
            line: Some(format!("leave {} ({total} here)", person.shown())),
            pushes: self.to_all("people", &json!({"total": total, "leave": person})),
        }
    }

    fn enter(&mut self, tunnel_id: String) -> ChatHeard {
        // A callback that came twice announces nobody twice.
        if self.here.contains_key(&tunnel_id) {
            return ChatHeard::default();
        }
        let at = self.expected.iter().position(|(id, _)| *id == tunnel_id);
        let Some((_, person)) = at.and_then(|at| self.expected.remove(at)) else {
            return close(tunnel_id, "a tunnel nobody asked for");
        };
        if self.here.len() >= MAX_PEOPLE {
            return close(tunnel_id, "the room is full");
        }
        self.here.insert(tunnel_id, person.clone());
        let total = self.here.len();
        ChatHeard {
            line: Some(format!("connect {} ({total} here)", person.shown())),
            pushes: self.to_all("people", &json!({"total": total, "enter": person})),
        }
    }

    fn listen(&self, tunnel_id: &str, kind: &str, content: &Value) -> ChatHeard {
        let Some(person) = self.here.get(tunnel_id) else {
            return close(tunnel_id.to_owned(), "a speaker who is not here");
        };
        let word = content.get("word").and_then(Value::as_str);
        let (Some(word), "speak") = (word, kind) else {
            return ChatHeard::default();
        };
        let word: String = word.chars().take(MAX_WORD).collect();
        ChatHeard {
            line: Some(format!("speak {}: {}", person.shown(), plain(&word))),
            pushes: self.to_all("speak", &json!({"who": person, "word": word})),
        }
    }

    fn to_all(&self, kind: &str, content: &Value) -> Vec<ChatPush> {
        if self.here.is_empty() {
            return Vec::new();
        }
        vec![ChatPush {
            tunnel_ids: self.here.keys().cloned().collect(),
            content: Some(json!({"type": kind, "content": content}).to_string()),
        }]
    }
}

fn close(tunnel_id: String, why: &str) -> ChatHeard {
    ChatHeard {
        line: Some(format!("close: {why}")),
        pushes: vec![ChatPush {
            tunnel_ids: vec![tunnel_id],
            content: None,
        }],
    }
}

/// A text as it may stand in a log: one line, no control characters.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str) -> ChatPerson {
        ChatPerson::new(
            &format!("o-{name}"),
            &json!({"nickName": name, "secret": "no"}),
        )
    }

    fn news(tunnel_id: &str, packet: DemoPacket) -> TunnelNews {
        TunnelNews {
            tunnel_id: tunnel_id.to_owned(),
            packet,
        }
    }

    fn speak(tunnel_id: &str, word: &str) -> TunnelNews {
        let content = json!({"word": word});
        let kind = "speak".to_owned();
        news(tunnel_id, DemoPacket::Message { kind, content })
    }

    /// A room with 张三 at t1 and Band at t2.
    fn two() -> ChatRoom {
        let mut room = ChatRoom::default();
        for (id, name) in [("t1", "张三"), ("t2", "Band")] {
            room.expect_person(id, person(name));
            room.hear(news(id, DemoPacket::Connect));
        }
        room
    }

    fn content(push: &ChatPush) -> Value {
        serde_json::from_str(push.content.as_deref().expect("a message")).expect("JSON")
    }

    #[test]
    fn everybody_hears_who_enters_speaks_and_leaves() {
        let mut room = ChatRoom::default();
        room.expect_person("t1", person("张三"));
        room.expect_person("t2", person("Band"));
        let first = room.hear(news("t1", DemoPacket::Connect));
        assert_eq!(first.pushes[0].tunnel_ids, ["t1"]);
        let second = room.hear(news("t2", DemoPacket::Connect));
        assert_eq!(second.pushes[0].tunnel_ids, ["t1", "t2"]);
        assert_eq!(
            content(&second.pushes[0]),
            json!({"type": "people", "content": {"total": 2, "enter": {
                "openId": "o-Band", "nickName": "Band", "avatarUrl": "",
            }}})
        );

        let heard = room.hear(speak("t1", "大家好"));
        assert_eq!(heard.line.as_deref(), Some("speak 张三: 大家好"));
        assert_eq!(content(&heard.pushes[0])["content"]["word"], "大家好");
        assert_eq!(
            content(&heard.pushes[0])["content"]["who"]["nickName"],
            "张三"
        );

        let left = room.hear(news("t1", DemoPacket::Close));
        assert_eq!(left.pushes[0].tunnel_ids, ["t2"]);
        assert_eq!(content(&left.pushes[0])["content"]["total"], 1);
        assert_eq!(
            content(&left.pushes[0])["content"]["leave"]["nickName"],
            "张三"
        );
        assert!(
            room.forget("t2").pushes.is_empty(),
            "nobody is left to hear it"
        );
    }

    #[test]
    fn nobody_enters_or_leaves_twice() {
        let mut room = two();
        assert_eq!(
            room.hear(news("t2", DemoPacket::Connect)),
            ChatHeard::default()
        );
        assert_eq!(room.forget("t1").pushes.len(), 1);
        assert_eq!(room.forget("t1"), ChatHeard::default());
    }

    #[test]
    fn strangers_are_shown_out() {
        let mut room = two();
        for news in [news("t9", DemoPacket::Connect), speak("t9", "let me in")] {
            let heard = room.hear(news);
            assert_eq!(
                heard.pushes,
                [ChatPush {
                    tunnel_ids: vec!["t9".to_owned()],
                    content: None,
                }]
            );
        }
        assert_eq!(room.forget("t9"), ChatHeard::default());
    }

    #[test]
    fn what_is_not_speech_is_not_passed_on() {
        let mut room = two();
        for (kind, content) in [
            ("speak", json!({"word": 7})),
            ("speak", Value::Null),
            ("ping", json!({"word": "hi"})),
            ("UnknownRaw", json!("ping")),
        ] {
            let kind = kind.to_owned();
            let heard = room.hear(news("t1", DemoPacket::Message { kind, content }));
            assert_eq!(heard, ChatHeard::default());
        }
        assert_eq!(
            room.hear(news("t1", DemoPacket::Other)),
            ChatHeard::default()
        );
    }

    #[test]
    fn the_room_is_bounded() {
        let mut room = ChatRoom::default();
        for n in 0..MAX_EXPECTED + 5 {
            room.expect_person(&n.to_string(), person("p"));
        }
        assert_eq!(room.expected.len(), MAX_EXPECTED);
        for n in 5..MAX_EXPECTED + 5 {
            room.hear(news(&n.to_string(), DemoPacket::Connect));
        }
        assert_eq!(room.here.len(), MAX_PEOPLE);
        room.expect_person("one more", person("p"));
        let full = room.hear(news("one more", DemoPacket::Connect));
        assert_eq!(full.pushes[0].content, None);
        let long = room.hear(speak("7", &"长".repeat(2 * MAX_WORD)));
        let word = content(&long.pushes[0])["content"]["word"].clone();
        assert_eq!(word.as_str().map(|w| w.chars().count()), Some(MAX_WORD));
    }

    #[test]
    fn a_log_line_stays_one_line() {
        let mut room = ChatRoom::default();
        room.expect_person("t", person("a\u{1b}[31m\nb"));
        let line = room.hear(news("t", DemoPacket::Connect)).line;
        assert_eq!(line.as_deref(), Some("connect a [31m b (1 here)"));
    }

    #[test]
    fn a_user_without_a_profile_has_a_name() {
        assert_eq!(ChatPerson::new("o", &json!({})).nick_name, "微信用户");
    }
}
