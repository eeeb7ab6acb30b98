//! weappd.toml as it is written: the short form, the long form, and what both share.

use std::{collections::BTreeMap, fmt, marker::PhantomData, path::PathBuf};
use weappd_base::language::pick;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use weappd_apps::AppConfig;
use weappd_base::secret::Secret;

use crate::config::{
    api_security::ApiSecuritySection, internal::InternalSection, redirect::RedirectRule,
};
use crate::plan::TunnelIssuer;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// Short form: the site's host name, or several (`["www.example.com", "example.com"]`).
    pub(crate) domain: HostNames,
    /// Short form: the certificate chain, PEM, as vendors issue it.
    pub(crate) cert: Option<PathBuf>,
    /// Short form: the certificate's private key, PEM.
    pub(crate) key: Option<PathBuf>,
    /// Short form: `"off"` for a site without TLS, behind a TLS proxy of your own.
    pub(crate) tls: Option<TlsSource>,
    /// Short form: a business server that runs already: its port, or `"host:port"`, or a
    /// list of them.
    pub(crate) proxy: UpstreamList,
    /// Short form: a directory of files.
    pub(crate) root: Option<PathBuf>,
    /// Short form: the dialects the site speaks, of `"wafer1"` and `"wafer2"`.
    pub(crate) dialects: Option<Vec<WaferDialect>>,
    /// Short form: routes of the site, as in the long form.
    pub(crate) routes: Vec<RouteSection>,
    /// Short form: services of the site, as in the long form.
    pub(crate) services: InOrder<ServiceSection>,
    /// Short form: the mini program.
    pub(crate) miniapp: Option<MiniAppSection>,
    /// Short form: the business server that weappd keeps alive.
    pub(crate) app: Option<AppConfig>,
    /// Long form: the sites by host name.
    pub(crate) sites: InOrder<SiteSection>,
    /// Long form: the mini programs by AppID.
    pub(crate) miniapps: InOrder<MiniAppSection>,
    /// Long form: the business servers by name.
    pub(crate) apps: BTreeMap<String, AppConfig>,
    /// Where weappd keeps its database, uploads and logs; relative to this file.
    pub(crate) data_dir: PathBuf,
    /// Read with [`ListenSection`] beside the room's own settings.
    pub(crate) edge: IgnoredAny,
    /// Read with [`TunnelShort`] beside the room's own settings.
    pub(crate) tunnel: IgnoredAny,
    /// Sessions and their store.
    pub(crate) session: weappd_session::Config,
    /// Uploads and downloads.
    pub(crate) files: weappd_files::Config,
    /// How WeChat's server is reached.
    pub(crate) wechat: weappd_wechat::Config,
    pub(crate) gateway: weappd_gateway::Config,
    /// The API that business servers call.
    pub(crate) internal: InternalSection,
    /// What is logged.
    pub(crate) log: LogSection,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            domain: HostNames::default(),
            cert: None,
            key: None,
            tls: None,
            proxy: UpstreamList::default(),
            root: None,
            dialects: None,
            routes: Vec::new(),
            services: InOrder::default(),
            miniapp: None,
            app: None,
            sites: InOrder::default(),
            miniapps: InOrder::default(),
            apps: BTreeMap::new(),
            data_dir: PathBuf::from(".weappd"),
            edge: IgnoredAny,
            tunnel: IgnoredAny,
            session: weappd_session::Config::default(),
            files: weappd_files::Config::default(),
            wechat: weappd_wechat::Config::default(),
            gateway: weappd_gateway::Config::default(),
            internal: InternalSection::default(),
            log: LogSection::default(),
        }
    }
}

/// `[sites."host"]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SiteSection {
    /// Further names of the site.
    pub(crate) aliases: Vec<String>,
    /// The certificate chain, PEM.
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub(crate) key: Option<PathBuf>,
    /// `"off"` for a site without TLS.
    pub(crate) tls: Option<TlsSource>,
    /// Whether plain HTTP is sent on to HTTPS; `[edge] redirect` says it for all sites.
    pub(crate) redirect: Option<RedirectRule>,
    /// The dialects the site speaks; `[session] wafer1` and `wafer2` say it for all sites.
    pub(crate) dialects: Option<Vec<WaferDialect>>,
    /// The AppID of the mini program whose users log in here.
    pub(crate) miniapp: Option<String>,
    /// The same for several mini programs; a login that does not say which means the first.
    pub(crate) miniapps: Option<Vec<String>>,
    /// The app that answers `/`.
    pub(crate) app: Option<String>,
    /// The running servers that answer `/`.
    pub(crate) proxy: UpstreamList,
    /// The files that answer `/`.
    pub(crate) root: Option<PathBuf>,
    /// Where paths lead; the most specific one wins.
    pub(crate) routes: Vec<RouteSection>,
    /// The services by name, among which the header `X-WX-SERVICE` of a request chooses, as
    /// in WeChat's cloud hosting (微信云托管). Without any, the header means nothing.
    pub(crate) services: InOrder<ServiceSection>,
}

/// An entry of `services`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceSection {
    /// An app of `[apps]`.
    pub(crate) app: Option<String>,
    /// Running servers.
    pub(crate) proxy: UpstreamList,
    /// `"require"`: only the logged-in may come, whatever the path. `"pass"`: as the path's
    /// route says.
    pub(crate) session: SessionWord,
}

/// An entry of `routes`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteSection {
    /// `/api` leads `/api` and everything under it, `/api/` only what is under it,
    /// `= /api` exactly that path.
    pub(crate) path: String,
    /// An app of `[apps]`.
    pub(crate) app: Option<String>,
    /// Running servers.
    pub(crate) proxy: UpstreamList,
    /// A directory of files.
    pub(crate) root: Option<PathBuf>,
    /// Another address; `{path}` in it stands for the request's path and query.
    pub(crate) redirect: Option<String>,
    /// The status of a redirect: 301, 302, 303, 307 or 308.
    pub(crate) code: Option<u16>,
    /// `"require"`: only the logged-in may come. `"pass"`: anyone may.
    pub(crate) session: SessionWord,
}

/// Whether a route demands a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SessionWord {
    #[default]
    Pass,
    Require,
}

/// How a site's TLS comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsSource {
    Auto,
    Off,
}

/// A dialect of the Wafer SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WaferDialect {
    Wafer1,
    Wafer2,
}

/// `[miniapp]`, or `[miniapps.wx...]` where the AppID is the name.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MiniAppSection {
    /// The AppID (`[miniapp]` only).
    pub(crate) appid: Option<String>,
    /// The AppSecret.
    pub(crate) secret: Option<Secret>,
    /// How many days after its login a session ends.
    pub(crate) login_duration_days: u32,
    /// How many seconds a session lives without a visit.
    pub(crate) session_duration_secs: u64,
    /// The message Token set in WeChat's console; with one, `/weapp/message` takes messages.
    pub(crate) message_token: Option<Secret>,
    /// The `EncodingAESKey` set there; with one, only encrypted messages are taken.
    pub(crate) encoding_aes_key: Option<Secret>,
    /// The path at which the app takes messages, as plain JSON.
    pub(crate) message_path: String,
    /// When WeChat is told that an order was delivered: `"acted"`, when the app says so, or
    /// `"stored"`, when it is on the disk.
    pub(crate) message_answer: weappd_gateway::AnswerWhen,
    /// Further push configurations (mini games).
    pub(crate) pushes: Vec<FurtherPush>,
    /// Calls of WeChat's API encrypted and signed (API 安全).
    pub(crate) api_security: Option<ApiSecuritySection>,
}

/// `[[miniapp.pushes]]`: a push configuration beside the mini program's own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FurtherPush {
    /// Where WeChat pushes to.
    pub(crate) path: String,
    /// The Token set for it in WeChat's console.
    pub(crate) token: Secret,
    /// The `EncodingAESKey` set there; with one, only encrypted messages are taken.
    pub(crate) encoding_aes_key: Option<Secret>,
}

impl Default for MiniAppSection {
    fn default() -> Self {
        Self {
            appid: None,
            secret: None,
            login_duration_days: 30,
            session_duration_secs: 2_592_000,
            message_token: None,
            encoding_aes_key: None,
            message_path: "/weapp/message".to_owned(),
            message_answer: weappd_gateway::AnswerWhen::Acted,
            pushes: Vec::new(),
            api_security: None,
        }
    }
}

/// weappd's own keys of `[edge]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenSection {
    /// Where plain HTTP is listened for: `":80"`, or `"127.0.0.1:8080"`, or a list; `false`
    /// for nowhere.
    pub(crate) http: AddressList,
    /// Where HTTPS is listened for.
    pub(crate) https: AddressList,
    /// Whether plain HTTP is sent on to HTTPS, or to which port where it is another outside.
    pub(crate) redirect: RedirectRule,
    /// How long requests and tunnels may take to end when weappd stops, in seconds.
    pub(crate) grace_secs: u64,
}

impl Default for ListenSection {
    fn default() -> Self {
        Self {
            http: AddressList(vec![":80".to_owned()]),
            https: AddressList(vec![":443".to_owned()]),
            redirect: RedirectRule::On,
            grace_secs: 30,
        }
    }
}

/// weappd's own keys of `[tunnel]`: one business server without a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TunnelShort {
    /// The signature key of every site's business server (`tunnelSignatureKey`).
    pub(crate) key: Option<Secret>,
    /// Where callbacks go, whatever URL the SDK names.
    pub(crate) receive: Option<String>,
    /// Who answers phones that ask for a tunnel: `"app"`, `"weappd"`, or `"auto"`: the app,
    /// and weappd if the app has no such path.
    pub(crate) issuer: TunnelIssuer,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSection {
    /// `"warn"`, `"info"`, `"debug"`, or a filter such as `"info,weappd_tunnel=debug"`.
    pub(crate) level: String,
    /// `"text"` for people, `"json"` for programs.
    pub(crate) format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// A table whose entries keep the file's order.
#[derive(Debug)]
pub(crate) struct InOrder<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntryVisitor<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(pick("a table", "应为表"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }

        deserializer.deserialize_map(EntryVisitor(PhantomData))
    }
}

/// Reads one text, one number, or a list of them.
struct OneOrMore {
    expecting: &'static str,
    /// What stands before a bare port number; `None` refuses numbers.
    before_port: Option<&'static str>,
}

impl OneOrMore {
    fn port<E: serde::de::Error>(&self, number: i64) -> Result<Vec<String>, E> {
        // Whether it is a port is judged with all addresses, where its place is known.
        let before = self.before_port.ok_or_else(|| E::custom(self.expecting))?;
        Ok(vec![format!("{before}:{number}")])
    }
}

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.port(number)
    }

    fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
        // `http = false` listens nowhere; names cannot be switched off.
        if on || self.before_port != Some("") {
            return Err(E::custom(self.expecting));
        }
        Ok(Vec::new())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(E::custom(self.expecting))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(serde::de::Error::custom(self.expecting))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element::<OneText>()? {
            match item {
                OneText::Text(text) => all.push(text),
                OneText::Number(number) => all.extend(self.port::<A::Error>(number)?),
            }
        }
        Ok(all)
    }
}

/// A text or a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a port number")]
enum OneText {
    Text(String),
    Number(i64),
}

/// Host names.
#[derive(Debug, Default)]
pub(crate) struct HostNames(pub(crate) Vec<String>);

/// Addresses of running servers.
#[derive(Debug, Default)]
pub(crate) struct UpstreamList(pub(crate) Vec<String>);

/// Addresses to listen on.
#[derive(Debug, Default)]
pub(crate) struct AddressList(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for HostNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one_or_more = OneOrMore {
            expecting: pick("a host name, or a list of them", "应为域名，或域名的列表"),
            before_port: None,
        };
        deserializer.deserialize_any(one_or_more).map(Self)
    }
}

impl<'de> Deserialize<'de> for UpstreamList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one_or_more = OneOrMore {
            expecting: pick(
                "a port, \"host:port\", or a list of them",
                "应为端口、\"主机:端口\"，或它们的列表",
            ),
            before_port: Some("127.0.0.1"),
        };
        deserializer.deserialize_any(one_or_more).map(Self)
    }
}

impl<'de> Deserialize<'de> for AddressList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one_or_more = OneOrMore {
            expecting: pick(
                "an address such as \":80\" or \"127.0.0.1:8080\", a list of them, or false",
                "应为 \":80\"、\"127.0.0.1:8080\" 这样的地址、地址的列表，或 false",
            ),
            before_port: Some(""),
        };
        deserializer.deserialize_any(one_or_more).map(Self)
    }
}
