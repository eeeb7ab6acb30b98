//! More of what a phone gives: steps and the group a mini program was opened in, encrypted, and
//! the key for an encryption of the mini program's own.

use serde_json::{Value, json};
use weappd_wechat::open_data;

use crate::error::Error;
use crate::phone::Phone;
use crate::user_keys::KEY_LIFE;
use crate::user_name::UserName;

const DAY_SECS: i64 = 86_400;

impl Phone {
    /// `wx.getWeRunData`: the steps of 31 days, always the same for a user and a day.
    pub fn we_run_data(&self) -> Result<Value, Error> {
        let today = self.simulator.now().get().div_euclid(DAY_SECS);
        let steps = (0..31).map(|ago| {
            let day = today - 30 + ago;
            json!({ "timestamp": day * DAY_SECS, "step": self.user.steps(day) })
        });
        let list: Vec<_> = steps.collect();
        self.give("getWeRunData", json!({ "stepInfoList": list }))
    }

    /// `wx.getGroupEnterInfo` in a group of that name: the same group has the same id for
    /// every user.
    pub fn group_info(&self, group: &str) -> Result<Value, Error> {
        let group = UserName::parse(group)
            .map_err(|_| Error::Field("\"group\", 1 to 32 of a-z, 0-9, _ and -"))?;
        let id = group.group_id(self.appid());
        self.give("getGroupEnterInfo", json!({ "opengid": id }))
    }

    /// `wx.getUserCryptoManager().getLatestUserKey()`.
    pub fn user_key(&self) -> Result<Value, Error> {
        self.key_for("getLatestUserKey")?;
        let now = self.simulator.now();
        let tokens = self.simulator.random();
        let fresh = || {
            let key = open_data::session_key_text(tokens.bytes());
            // The server uses the 16 letters as they stand.
            (key, hex::encode(tokens.bytes::<8>()))
        };
        let answer = self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            let keys = user.keys.entry(self.appid().to_owned()).or_default();
            let newest = keys.latest(now, fresh);
            Ok::<_, Error>(newest.map(|key| {
                json!({
                    "encryptKey": key.key.expose(),
                    "iv": key.iv,
                    "version": key.version,
                    "expireTime": key.made_at + KEY_LIFE,
                })
            }))
        })?;
        let answer = answer.unwrap_or_default();
        self.tell("getLatestUserKey", || answer.clone());
        Ok(answer)
    }

    /// Encrypts what the user gives.
    fn give(&self, api: &'static str, data: Value) -> Result<Value, Error> {
        let given = self
            .key_for(api)
            .and_then(|session_key| self.encrypt(&session_key, data))
            .map(|(data, iv)| json!({ "encryptedData": data, "iv": iv }));
        self.tell(&format!("wx.{api}"), || match &given {
            Ok(given) => given.clone(),
            Err(error) => json!({ "errMsg": error.to_string() }),
        });
        given
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weappd_base::secret::Secret;
    use weappd_wechat::open_data;

    use crate::http::simulator_world::{NOW, SimulatorWorld};

    /// A phone's answer, opened with the session key of its login.
    async fn opened(world: &SimulatorWorld, user: &str, verb: &str, body: Value) -> Value {
        let login = world.post(&format!("/phone/{user}/login"), json!({})).await;
        let code = login["code"].as_str().expect("a code");
        let session = world
            .get(&format!(
                "/sns/jscode2session?appid=wx1&secret=s1&grant_type=authorization_code&js_code={code}"
            ))
            .await;
        let key = Secret::new(session["session_key"].as_str().expect("a key"));
        let given = world.post(&format!("/phone/{user}/{verb}"), body).await;
        let text = |name: &str| given[name].as_str().expect(name).to_owned();
        let iv = text("iv");
        open_data::open("wx1", &key, &text("encryptedData"), Some(&iv)).expect("it opens")
    }

    #[tokio::test]
    async fn steps_are_of_31_days_and_stay() {
        let world = SimulatorWorld::new();
        let data = opened(&world, "alice", "we_run_data", json!({})).await;
        let list = data["stepInfoList"].as_array().expect("a list").clone();
        assert_eq!(list.len(), 31);
        let today = NOW - NOW % 86_400;
        assert_eq!(list[30]["timestamp"], today);
        assert!(list.iter().all(|day| day["step"].as_u64().is_some()));
        world.hand.advance(86_400);
        let later = opened(&world, "alice", "we_run_data", json!({})).await;
        assert_eq!(later["stepInfoList"][29], list[30]);
    }

    #[tokio::test]
    async fn a_group_is_the_same_for_all_in_it() {
        let world = SimulatorWorld::new();
        let group = json!({ "group": "climbers" });
        let hers = opened(&world, "alice", "group_info", group.clone()).await;
        let his = opened(&world, "bob", "group_info", group).await;
        assert_eq!(hers["opengid"], his["opengid"]);
        let other = opened(&world, "bob", "group_info", json!({})).await;
        assert_ne!(other["opengid"], his["opengid"]);
        let bad = world
            .post("/phone/bob/group_info", json!({ "group": "A B" }))
            .await;
        assert!(
            bad["errMsg"]
                .as_str()
                .is_some_and(|told| told.contains("group"))
        );
    }
}
