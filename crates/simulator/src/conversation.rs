//! What a user does with messages: agrees to get them, writes to the mini program, reads.

use serde_json::{Value, json};

use crate::error::Error;
use crate::phone::Phone;
use crate::reply_windows::WindowOpening;

/// The most messages a user agrees to at a time.
const MAX_TIMES: u32 = 1000;
/// The most templates a user's phone remembers.
const MAX_TEMPLATES: usize = 1000;

impl Phone {
    /// WeChat takes the user for a danger, or no longer: logins are blocked with 40226.
    pub fn set_risky(&self, risky: bool) -> Result<(), Error> {
        self.simulator.with_state(|state| {
            state.user(&self.user)?.risky = risky;
            Ok(())
        })
    }

    /// `wx.requestSubscribeMessage`: the user agrees to `times` messages of a template, or
    /// refuses. Tells the phone's answer, and the server by `subscribe_msg_popup_event`.
    pub fn subscribe(&self, template_id: &str, accept: bool, times: u32) -> Result<Value, Error> {
        if template_id.is_empty() || template_id.len() > 128 {
            return Err(Error::Field("\"template_id\", 1 to 128 characters"));
        }
        let key = (self.appid().to_owned(), template_id.to_owned());
        self.simulator.with_state(|state| {
            let subscriptions = &mut state.user(&self.user)?.subscriptions;
            if subscriptions.len() >= MAX_TEMPLATES && !subscriptions.contains_key(&key) {
                return Err(Error::Field(
                    "a template_id the user met before: there are too many",
                ));
            }
            let left = subscriptions.entry(key).or_default();
            if accept {
                *left = left.saturating_add(times.min(MAX_TIMES));
            }
            Ok(())
        })?;
        let chosen = if accept { "accept" } else { "reject" };
        let event = json!({
            "MsgType": "event",
            "Event": "subscribe_msg_popup_event",
            "List": {
                "TemplateId": template_id,
                "SubscribeStatusString": chosen,
                "PopupScene": "0",
            },
        });
        self.push(event);
        let mut answer = json!({ "errMsg": "requestSubscribeMessage:ok" });
        answer[template_id] = chosen.into();
        self.tell("wx.requestSubscribeMessage", || answer.clone());
        Ok(answer)
    }

    /// The user writes to the mini program's customer service.
    pub fn say(&self, text: &str) -> Result<Value, Error> {
        if text.is_empty() || text.chars().count() > 2000 {
            return Err(Error::Field("\"text\", 1 to 2000 characters"));
        }
        let id = self.simulator.message_id();
        self.open_window(WindowOpening::Message)?;
        self.push(json!({ "MsgType": "text", "Content": text, "MsgId": id }));
        let answer = json!({ "msgid": id.to_string() });
        self.tell("customer message", || answer.clone());
        Ok(answer)
    }

    /// The user opens the conversation with the customer service.
    pub fn enter_session(&self, session_from: &str) -> Result<Value, Error> {
        self.open_window(WindowOpening::Enter)?;
        self.push(json!({
            "MsgType": "event",
            "Event": "user_enter_tempsession",
            "SessionFrom": session_from,
        }));
        self.tell("user_enter_tempsession", || json!({}));
        Ok(json!({}))
    }

    /// What the mini program sent, oldest first: at most the last 100.
    pub fn inbox(&self) -> Result<Vec<Value>, Error> {
        self.simulator
            .with_state(|state| Ok(state.user(&self.user)?.inbox.iter().cloned().collect()))
    }

    fn open_window(&self, opening: WindowOpening) -> Result<(), Error> {
        let now = self.simulator.now();
        self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            user.active_at.insert(self.appid().to_owned(), now);
            let windows = user.windows.entry(self.appid().to_owned()).or_default();
            windows.open(opening, now);
            Ok(())
        })
    }

    fn push(&self, message: Value) {
        self.simulator
            .push_later(self.appid(), &self.openid(), message, 0);
    }
}
