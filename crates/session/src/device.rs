//! What a phone says it is, in few words: `iPhone, iOS 17.5, WeChat 8.0.49, WIFI`.

/// How much is kept, in characters.
const MAX: usize = 160;

/// The words of a `User-Agent` that tell one phone from another; the text itself, shortened,
/// if it is no WeChat's. Nothing of it is proven.
pub(crate) fn describe(agent: &str) -> Option<String> {
    let agent = agent.trim();
    if agent.is_empty() {
        return None;
    }
    let wechat = after(agent, "MicroMessenger/").map(|version| {
        // `8.0.49(0x18003137)`, or `8.0.49.2600(0x28003137)` with a build number.
        let parts: Vec<_> = version.split('.').take(3).collect();
        format!("WeChat {}", parts.join("."))
    });
    let told = match (wechat, system(agent)) {
        (Some(wechat), Some(system)) => {
            let net = after(agent, "NetType/").map(|net| format!(", {net}"));
            format!("{system}, {wechat}{}", net.unwrap_or_default())
        }
        _ => agent.to_owned(),
    };
    Some(told.chars().take(MAX).collect())
}

/// What follows `name`, to the end of the word.
fn after<'a>(agent: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = agent.split_once(name)?;
    let end = rest.find([' ', '(', ';', ')']).unwrap_or(rest.len());
    rest.get(..end).filter(|word| !word.is_empty())
}

/// The device and its system, from the first parentheses.
fn system(agent: &str) -> Option<String> {
    let (_, rest) = agent.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    let parts: Vec<_> = inside.split(';').map(str::trim).collect();
    let first = *parts.first()?;
    if matches!(first, "iPhone" | "iPad" | "iPod touch") {
        let version = inside.split_once("OS ").map(|(_, rest)| rest);
        let version = version.and_then(|rest| rest.split(' ').next())?;
        return Some(format!("{first}, iOS {}", version.replace('_', ".")));
    }
    if let Some(android) = parts.iter().find(|part| part.starts_with("Android")) {
        // The model stands before its build, as in `M2012K11AC Build/TKQ1.220829.002`.
        let last = parts.iter().rev().find(|part| **part != "wv");
        let model = last.and_then(|last| last.split(" Build/").next());
        let model = model.filter(|model| !model.is_empty() && model != android);
        return Some(match model {
            Some(model) => format!("{model}, {android}"),
            None => (*android).to_owned(),
        });
    }
    match first {
        "Macintosh" => Some("Mac".to_owned()),
        first if first.starts_with("Windows NT") => Some("Windows".to_owned()),
        "Linux" | "X11" => Some("Linux".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn phones_are_told_apart_in_few_words() {
        for (agent, told) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 16_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.33(0x18002129) NetType/WIFI Language/zh_CN",
                "iPhone, iOS 16.3, WeChat 8.0.33, WIFI",
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; M2012K11AC Build/TKQ1.220829.002; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/107.0.5304.141 Mobile Safari/537.36 XWEB/5075 MMWEBSDK/20230504 MMWEBID/1234 MicroMessenger/8.0.37.2380(0x2800255B) WeChat/arm64 Weixin NetType/4G Language/zh_CN ABI/arm64 MiniProgramEnv/android",
                "M2012K11AC, Android 13, WeChat 8.0.37, 4G",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/81.0 Safari/537.36 MicroMessenger/7.0.20.1781(0x6700143B) NetType/WIFI MiniProgramEnv/Windows WindowsWechat/WMPF",
                "Windows, WeChat 7.0.20, WIFI",
            ),
            ("curl/8.5.0", "curl/8.5.0"),
            ("MicroMessenger/", "MicroMessenger/"),
        ] {
            assert_eq!(describe(agent).as_deref(), Some(told));
        }
        assert_eq!(describe("  "), None);
        assert_eq!(describe(&"x".repeat(999)).map(|told| told.len()), Some(MAX));
    }

    proptest! {
        #[test]
        fn nothing_a_phone_says_is_too_much(
            agent in "(Mozilla|\\(|\\)|;| |iPhone|OS |Android|MicroMessenger/|NetType/|[0-9._三]| Build/){0,40}",
        ) {
            let told = describe(&agent);
            prop_assert!(told.is_none_or(|told| told.chars().count() <= MAX && !told.is_empty()));
        }
    }
}
