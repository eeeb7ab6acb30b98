//! A reload: another `[wechat]` section. The client made for it is what is staged; it holds from
//! when it is handed to those who call. Calls under way end with the client they began with.

use crate::client::WechatClient;
use crate::config::Config;
use crate::error::Error;

impl WechatClient {
    /// A client for other settings, with the connections of this one where they are opened in the
    /// same way. Changes nothing.
    pub fn prepare(&self, config: &Config) -> Result<Self, Error> {
        Self::build(config, self.0.tap.clone(), Some(&self.0))
    }
}

impl Config {
    /// The settings that differ and count after a restart only: none.
    pub fn restart_keys(&self, next: &Self) -> Vec<&'static str> {
        // Who adds a setting says here whether a new client has it.
        let Self {
            endpoint: _,
            timeout_ms: _,
        } = next;
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use weappd_base::tap::TrafficTap;

    use super::*;

    fn client() -> WechatClient {
        WechatClient::new(&plain(), TrafficTap::off()).expect("a client")
    }

    fn plain() -> Config {
        Config {
            endpoint: "http://127.0.0.1:1".to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn every_setting_is_reloaded() {
        let client = client();
        let next = client.prepare(&Config {
            timeout_ms: 700,
            ..plain()
        });
        let next = next.expect("a client");
        assert_eq!(next.timeout(), Duration::from_millis(700));
        assert!(!Arc::ptr_eq(&next.0.http, &client.0.http));
        let next = client.prepare(&Config::default()).expect("a client");
        assert!(next.0.is_tls && !client.0.is_tls);
        assert_eq!(client.timeout(), Duration::from_secs(5), "as before");
        assert_eq!(plain().restart_keys(&Config::default()), [""; 0]);
    }

    #[test]
    fn connections_are_kept_over_reloads_that_do_not_change_them() {
        let mut client = client();
        let first = Arc::clone(&client.0.http);
        for port in 1..100 {
            let config = Config {
                endpoint: format!("http://127.0.0.1:{port}/relay"),
                ..plain()
            };
            client = client.prepare(&config).expect("a client");
        }
        assert!(Arc::ptr_eq(&first, &client.0.http));
        assert_eq!(Arc::strong_count(&first), 2, "this one and the last client");
    }

    #[test]
    fn a_bad_address_changes_nothing() {
        let config = Config {
            endpoint: "ftp://x".to_owned(),
            ..plain()
        };
        let refused = client().prepare(&config);
        assert!(matches!(refused, Err(Error::Endpoint(_))));
    }
}
