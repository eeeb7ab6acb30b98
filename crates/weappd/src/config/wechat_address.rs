//! `[wechat] endpoint`: whether the name it has leads back to this machine. A hosts file that
//! leads apps to weappd leads weappd itself there too, and each login would go in a circle.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use weappd_base::language::pick;
use weappd_base::words;

use http::Uri;
use weappd_wechat::{API_HOSTS, is_api_host};

use crate::config::checker::ConfigChecker;

/// The addresses of a host name, as programs of this machine see them; none if it has none.
pub(crate) type HostLookup<'a> = &'a dyn Fn(&str) -> Vec<IpAddr>;

/// Notes an endpoint at which weappd would call itself, which listens on `doors`.
pub(crate) fn tell(checker: &ConfigChecker<'_>, endpoint: &str, doors: &[SocketAddr]) {
    // What is no address at all is told by the room.
    let Some((uri, host)) = endpoint
        .parse::<Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned).map(|host| (uri, host)))
    else {
        return;
    };
    let default = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = uri.port_u16().unwrap_or(default);
    let addresses = addresses(checker, &host);
    let path = ["wechat".into(), "endpoint".into()];
    let circle = addresses.iter().find_map(|ip| {
        let mut doors = doors.iter();
        let door = doors.find(|door| door.port() == port && answers(**door, *ip))?;
        Some((ip, door))
    });
    if let Some((ip, door)) = circle {
        let called = match host.parse::<IpAddr>() {
            Ok(_) => String::new(),
            Err(_) => words!(
                "{host} is {ip} on this machine, and ",
                "{host} 在本机解析为 {ip}，而 "
            ),
        };
        let message = words!(
            "calls of WeChat's API would come back to weappd: {called}weappd itself listens on \
             {door}",
            "对微信接口的调用会回到 weappd：{called}weappd 自己监听 {door}"
        );
        checker.error(&path, message, mend(checker, &host));
    } else if is_api_host(&host)
        && let Some(ip) = addresses.iter().find(|ip| is_here(**ip))
    {
        let message = words!(
            "{host} is {ip} on this machine, and WeChat is not there: no login would work",
            "{host} 在本机解析为 {ip}，那里不是微信：用户都无法登录"
        );
        checker.error(&path, message, mend(checker, &host));
    }
}

/// What to do about a name that leads here.
fn mend(checker: &ConfigChecker<'_>, host: &str) -> String {
    if !is_api_host(host) {
        return pick(
            "`endpoint` is where WeChat, a relay or `weappd simulate` answers",
            "`endpoint` 是微信、转发服务或 `weappd simulate` 的地址",
        )
        .to_owned();
    }
    let leads_away = |name: &str| !addresses(checker, name).into_iter().any(is_here);
    let mut others = API_HOSTS.into_iter().filter(|name| *name != host);
    match others.find(|name| leads_away(name)) {
        Some(other) => words!(
            "/etc/hosts (or your DNS) says so, perhaps for your apps; let weappd call WeChat by \
             another of its names: endpoint = \"https://{other}\" under [wechat]. Or take that line \
             out, and lead apps to weappd by [internal] wechat_https",
            "这是 /etc/hosts（或 DNS）里写的，也许是给你的应用用的；请让 weappd 用微信的另一个域名：在 [wechat] 里写 endpoint = \"https://{other}\"。或删掉那一行，改用 [internal] wechat_https 让应用访问 weappd"
        ),
        None => words!(
            "/etc/hosts (or your DNS) says so: take {host} out there, and lead apps to weappd by \
             [internal] wechat_https",
            "这是 /etc/hosts（或 DNS）里写的：请从那里删掉 {host}，改用 [internal] wechat_https 让应用访问 weappd"
        ),
    }
}

fn addresses(checker: &ConfigChecker<'_>, host: &str) -> Vec<IpAddr> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    match plain.parse() {
        Ok(ip) => vec![ip],
        Err(_) => (checker.look_up)(host),
    }
}

/// Whether whoever calls `ip` reaches a socket that listens on `door`.
fn answers(door: SocketAddr, ip: IpAddr) -> bool {
    door.ip() == ip || (door.ip().is_unspecified() && is_here(ip))
}

/// Whether an address is one of this machine's own.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    const FILE: &str = "domain = \"a.com\"\ntls = \"off\"\nproxy = 1\n[edge]\nhttp = [\":80\", \":443\"]\n\
        trusted_proxies = []\n[miniapp]\nappid = \"wx1234567890abcdef\"\n\
        secret = \"5ec2e70f7e57a99000000000c0ffee11\"\n";

    /// The errors and their hints, where `hosts` is the machine's hosts file.
    fn told(text: &str, hosts: &[(&str, &str)]) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("weappd.toml");
        std::fs::write(&file, text).expect("written");
        let look_up = |name: &str| {
            let known = hosts.iter().filter(|(host, _)| *host == name);
            known
                .map(|(_, ip)| ip.parse().expect("an address"))
                .collect()
        };
        match load(&file, &|_| None, &look_up) {
            Ok(_) => Vec::new(),
            Err(problems) => problems
                .into_iter()
                .map(|problem| (problem.message, problem.hint.unwrap_or_default()))
                .filter(|(message, _)| {
                    ["on this machine", "come back"]
                        .iter()
                        .any(|words| message.contains(words))
                })
                .collect(),
        }
    }

    #[test]
    fn an_address_that_is_weappds_own_is_told_without_a_name() {
        let own = format!("{FILE}[wechat]\nendpoint = \"http://127.0.0.1:80\"\n");
        let told = told(&own, &[]);
        let [(message, _)] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            message.contains("to weappd: weappd itself listens on"),
            "{message}"
        );
    }

    #[test]
    fn a_hosts_file_that_leads_weappd_to_itself_is_told_with_the_mend() {
        for ip in ["127.0.0.1", "127.8.9.1", "::1", "0.0.0.0"] {
            let told = told(FILE, &[("api.weixin.qq.com", ip)]);
            let [(message, hint)] = &told[..] else {
                panic!("{ip}: {told:?}");
            };
            let words = format!("api.weixin.qq.com is {ip} on this machine, and weappd itself");
            assert!(message.contains(&words), "{message}");
            assert!(
                hint.contains("endpoint = \"https://api2.weixin.qq.com\""),
                "{hint}"
            );
        }
    }

    #[test]
    fn nothing_of_wechats_is_on_this_machine_wherever_weappd_listens() {
        let elsewhere = FILE.replace("\":443\"", "\":8443\"");
        let hosts = [
            ("api.weixin.qq.com", "127.0.0.1"),
            ("api2.weixin.qq.com", "127.0.0.1"),
        ];
        let found = told(&elsewhere, &hosts);
        assert!(found[0].0.contains("WeChat is not there"), "{found:?}");
        assert!(
            found[0].1.contains("https://sh.api.weixin.qq.com"),
            "{found:?}"
        );
        let all = API_HOSTS.map(|name| (name, "::1"));
        let found = told(FILE, &all);
        assert!(
            found[0].1.contains("take api.weixin.qq.com out"),
            "{found:?}"
        );

        let mended = format!("{FILE}[wechat]\nendpoint = \"https://hk.api.weixin.qq.com\"\n");
        assert_eq!(told(&mended, &hosts), []);
        assert_eq!(told(FILE, &[("api.weixin.qq.com", "203.0.113.9")]), []);
        assert_eq!(told(FILE, &[]), []);
        // Without a mini program weappd calls nobody.
        let (site, _) = FILE.split_once("[miniapp]").expect("a mini program");
        assert_eq!(told(site, &hosts), []);
    }

    #[test]
    fn a_relay_on_this_machine_is_no_circle_but_weappd_is() {
        let with = |endpoint: &str| format!("{FILE}[wechat]\nendpoint = \"{endpoint}\"\n");
        let hosts = [("localhost", "127.0.0.1"), ("me.example", "127.0.0.1")];
        for relay in [
            "http://127.0.0.1:8082",
            "http://localhost:9",
            "https://127.0.0.1:9",
        ] {
            assert_eq!(told(&with(relay), &hosts), [], "{relay}");
        }
        for circle in [
            "http://127.0.0.1:8081",
            "http://localhost",
            "https://me.example",
            "https://[::1]/relay",
        ] {
            assert_eq!(told(&with(circle), &hosts).len(), 1, "{circle}");
        }
    }

    #[test]
    fn own_addresses_are_known() {
        for ip in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1"] {
            assert!(is_here(ip.parse().expect("an address")), "{ip}");
        }
        for ip in ["203.0.113.9", "2001:db8::9"] {
            assert!(!is_here(ip.parse().expect("an address")), "{ip}");
        }
    }
}
