//! The query of a call: what the gateway takes out of it and puts into it. Everything else
//! goes on byte for byte.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters is encoded.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A call's query, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallQuery {
    /// The pairs that go on, as they came.
    rest: Vec<String>,
    /// The mini program chosen with `from_appid`.
    pub(crate) from_appid: Option<String>,
    /// Whether the app brought an access token of its own.
    pub(crate) has_token: bool,
    /// Whether it brought one of a third-party platform (第三方平台).
    has_component_token: bool,
}

impl CallQuery {
    /// Takes `from_appid` and empty access tokens out.
    pub(crate) fn read(text: &str) -> Self {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match decode(name).as_str() {
                "from_appid" => {
                    query.from_appid = Some(decode(value)).filter(|appid| !appid.is_empty());
                    continue;
                }
                "access_token" if value.is_empty() => continue,
                "access_token" => query.has_token = true,
                "component_access_token" => query.has_component_token = true,
                _ => {}
            }
            query.rest.push(pair.to_owned());
        }
        query
    }

    /// Whether the call proves itself.
    pub(crate) fn has_own_token(&self) -> bool {
        self.has_token || self.has_component_token
    }

    /// The first value under a name.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.rest.iter().find_map(|pair| {
            let (given, value) = pair.split_once('=')?;
            (decode(given) == name).then(|| decode(value))
        })
    }

    /// Names and values, but for an access token.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (String, serde_json::Value)> {
        self.rest.iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            (name != "access_token").then(|| (name, serde_json::Value::from(decode(value))))
        })
    }

    /// The path with this query, and with an access token if one is given.
    pub(crate) fn on(&self, path: &str, token: Option<&str>) -> String {
        let mut text = path.to_owned();
        let mut mark = '?';
        if let Some(token) = token {
            text.push_str("?access_token=");
            text.extend(utf8_percent_encode(token, VALUE));
            mark = '&';
        }
        for pair in &self.rest {
            text.push(mark);
            text.push_str(pair);
            mark = '&';
        }
        text
    }

    /// Names and values, for people: secrets masked.
    pub(crate) fn shown(&self) -> serde_json::Value {
        let fields = self.rest.iter().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), serde_json::Value::from(decode(value)))
        });
        let mut shown = serde_json::Value::Object(fields.collect());
        weappd_base::secret::mask_json(&mut shown);
        shown
    }
}

/// A text for a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_go_in_and_from_appid_out() {
        let query = CallQuery::read("a=1&from_appid=wx1&b=%E5%BE%AE&access_token=&c");
        assert_eq!(query.from_appid.as_deref(), Some("wx1"));
        assert!(!query.has_token);
        assert_eq!(query.on("/wxa/x", None), "/wxa/x?a=1&b=%E5%BE%AE&c");
        assert_eq!(
            query.on("/wxa/x", Some("t&k")),
            "/wxa/x?access_token=t%26k&a=1&b=%E5%BE%AE&c"
        );
        assert_eq!(query.get("b").as_deref(), Some("微"));
        assert_eq!(CallQuery::read("").on("/x", None), "/x");
    }

    #[test]
    fn a_given_token_is_seen_however_it_is_written() {
        assert!(CallQuery::read("access_token=own").has_token);
        let sly = CallQuery::read("access%5Ftoken=own");
        assert!(sly.has_token);
        assert_eq!(sly.on("/x", None), "/x?access%5Ftoken=own");
        let shown = CallQuery::read("access_token=0123456789")
            .shown()
            .to_string();
        assert!(!shown.contains("0123456789"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_query_panics_and_nothing_else_is_lost(text in "[a-z=&%+]{0,40}") {
            let query = CallQuery::read(&text);
            let kept = query.on("", None);
            for pair in text.split('&').filter(|pair| !pair.is_empty()) {
                let name = decode(pair.split('=').next().unwrap_or_default());
                if name != "from_appid" && name != "access_token" {
                    prop_assert!(kept.contains(pair));
                }
            }
        }
    }
}
