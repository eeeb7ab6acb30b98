//! Whose tunnels are: who opens them, where phones reach them, where callbacks go.

use super::{Desk, MINIAPP};
use crate::config::ProblemSeverity;

const SITE: &str = "domain = \"www.example.com\"\ncert = \"a.crt\"\nkey = \"a.key\"\n";

fn errors(checker: &Desk, text: &str) -> Vec<String> {
    match checker.load(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .into_iter()
            .filter(|problem| problem.severity == ProblemSeverity::Error)
            .map(|problem| problem.message)
            .collect(),
    }
}

#[test]
fn who_opens_tunnels_is_told() {
    let checker = Desk::new();
    let both = "dialects = [\"wafer1\", \"wafer2\"]\n";
    let told = |site: &str, tunnel: &str| {
        let text = format!("{SITE}{site}{MINIAPP}[tunnel]\nkey = \"abc\"\n{tunnel}");
        let notes = checker.notes(&text);
        notes
            .into_iter()
            .filter(|note| note.contains("tunnel"))
            .collect::<Vec<_>>()
    };
    let shared = |paths: &str| {
        vec![format!(
            "phones ask your app for tunnels at {paths} of www.example.com, and weappd if your \
             app has no such path; callbacks are your app's"
        )]
    };
    assert_eq!(told("proxy = 1937\n", ""), shared("/weapp/tunnel"));
    assert_eq!(
        told(&format!("proxy = 1937\n{both}"), ""),
        shared("/weapp/tunnel, /tunnel")
    );
    assert_eq!(
        told("proxy = 1937\ndialects = [\"wafer1\"]\n", ""),
        shared("/tunnel")
    );
    assert!(told("proxy = 1937\ndialects = []\n", "").is_empty());
    assert!(told("proxy = 1937\n", "issuer = \"app\"\n").is_empty());
    let weappd = told("proxy = 1937\n", "issuer = \"weappd\"\n");
    assert!(
        weappd[0].contains("/weapp/upload, GET /weapp/tunnel of"),
        "{weappd:?}"
    );
    let text = format!("{SITE}{MINIAPP}[app]\nrun = \"./app.sh\"\n");
    let keyless = checker.notes(&text);
    assert!(
        keyless
            .iter()
            .any(|note| *note == shared("/weapp/tunnel")[0]),
        "{keyless:?}"
    );
    let route = "proxy = 1937\nroutes = [{ path = \"= /weapp/tunnel\", proxy = 5757 }]\n";
    assert_eq!(
        told(route, ""),
        ["this route takes over /weapp/tunnel, which weappd would answer"]
    );
}

#[test]
fn callbacks_that_come_back_to_weappd_are_refused() {
    let checker = Desk::new();
    let dead =
        |site: &str, tunnel: &str| errors(&checker, &format!("{SITE}{site}{MINIAPP}{tunnel}"));
    let key = "[tunnel]\nkey = \"abc\"\n";
    for (site, tunnel, why) in [
        // Nobody there takes a POST.
        ("root = \"html\"\n", key.to_owned(), "stand files"),
        (
            "routes = [{ path = \"/\", redirect = \"https://example.org/\" }]\n",
            key.to_owned(),
            "sent elsewhere",
        ),
        (
            "routes = [{ path = \"/api\", proxy = 1937 }]\n",
            key.to_owned(),
            "no app and no proxy",
        ),
        // weappd's own endpoints.
        (
            "proxy = 1937\n",
            format!("{key}receive = \"https://www.example.com/weapp/login\"\n"),
            "weappd itself answers /weapp/login",
        ),
        (
            "proxy = 1937\n",
            format!(
                "{key}allow_http_receive = true\nreceive = \"http://127.0.0.1:8081/ws/push\"\n"
            ),
            "internal API",
        ),
        (
            "proxy = 1937\n",
            format!("{key}allow_http_receive = true\nreceive = \"http://localhost:8081/\"\n"),
            "internal API",
        ),
        (
            "proxy = 1937\n",
            format!("{key}receive = \"https://127.0.0.1/weapp/tunnel\"\n"),
            "no site is called 127.0.0.1",
        ),
        (
            "proxy = 1937\n",
            "[[tunnel.businesses]]\nhost = \"127.0.0.1:8081\"\nkey = \"abc\"\n".to_owned(),
            "internal API",
        ),
    ] {
        let errors = dead(site, &tunnel);
        assert!(
            errors.len() == 1 && errors[0].contains(why),
            "{site}{tunnel}{errors:?}"
        );
    }
    for (site, tunnel) in [
        ("proxy = 1937\n", key.to_owned()),
        ("proxy = 1937\n", format!("{key}issuer = \"weappd\"\n")),
        ("proxy = 1937\ndialects = []\n", key.to_owned()),
        (
            "routes = [{ path = \"/weapp/\", proxy = 1937 }]\n",
            key.to_owned(),
        ),
        (
            "routes = [{ path = \"/weapp/*\", proxy = 1937 }]\n",
            key.to_owned(),
        ),
        // A business server that calls by itself and takes callbacks elsewhere.
        ("root = \"html\"\n", format!("{key}issuer = \"app\"\n")),
        (
            "root = \"html\"\n",
            format!("{key}receive = \"https://hooks.example.org/tunnel\"\n"),
        ),
        (
            "proxy = 1937\n",
            format!("{key}receive = \"https://www.example.com/weapp/tunnel\"\n"),
        ),
        (
            "proxy = 1937\n",
            format!("{key}receive = \"https://www.example.com:22705/weapp/login\"\n"),
        ),
        (
            "proxy = 1937\n",
            format!("{key}allow_http_receive = true\nreceive = \"http://127.0.0.1:1937/t\"\n"),
        ),
    ] {
        let errors = dead(site, &tunnel);
        assert!(errors.is_empty(), "{site}{tunnel}{errors:?}");
    }
}

#[test]
fn phones_are_sent_to_the_port_the_site_has() {
    let checker = Desk::new();
    let base = |edge: &str| {
        let text = format!("{SITE}proxy = 1937\n{MINIAPP}[tunnel]\nkey = \"abc\"\n[edge]\n{edge}");
        let config = checker.config(&text);
        config.tunnel.businesses[0].public_base.clone()
    };
    let at = |port: &str| Some(format!("wss://www.example.com{port}"));
    assert_eq!(base(""), at(""));
    assert_eq!(base("https = \":8443\"\n"), at(":8443"));
    assert_eq!(base("https = [\":8443\", \":443\"]\n"), at(""));
    assert_eq!(base("https = [9443, 8443]\n"), at(":9443"));
    // Another port outside, as behind a port mapping.
    assert_eq!(base("https = \":8443\"\nredirect = 443\n"), at(""));
    assert_eq!(base("https = \":8443\"\nredirect = 9443\n"), at(":9443"));
    assert_eq!(base("redirect = 8443\n"), at(":8443"));
    assert_eq!(base("https = [9443, 8443]\nredirect = 8443\n"), at(":8443"));
    assert_eq!(base("https = \":8443\"\nredirect = false\n"), at(":8443"));
    let plain = format!(
        "domain = \"www.example.com\"\ntls = \"off\"\nproxy = 1937\n{MINIAPP}[tunnel]\nkey = \"abc\"\n"
    );
    let config = checker.config(&plain);
    assert_eq!(config.tunnel.businesses[0].public_base, at(""));
}
