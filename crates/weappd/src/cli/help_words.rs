//! The help and the complaints of the command line in Chinese. The English ones stand at the
//! commands themselves, where clap reads them.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use weappd_base::language::Language;

/// Each text of the help with its Chinese one.
const TEXTS: [(&str, &str); 79] = [
    (
        "Everything a WeChat Mini Program needs on the server, in one binary: HTTPS, login, sessions, realtime tunnels, uploads, and your app kept alive",
        "微信小程序服务端需要的一切，一个程序就够：HTTPS、登录、会话、实时信道、文件上传，并守护你的应用",
    ),
    ("Print version", "显示版本"),
    ("Print help (see more with '--help')", "显示帮助"),
    (
        "Print this message or the help of the given subcommand(s)",
        "显示本帮助，或某个命令的帮助",
    ),
    (
        "Language, otherwise that of LC_ALL, LC_MESSAGES or LANG; logs are English",
        "界面语言；不指定时由 LC_ALL、LC_MESSAGES 或 LANG 决定；日志始终是英文",
    ),
    (
        "Run everything on loopback with a simulated WeChat: no AppID, domain or database needed",
        "在本机运行全部服务，微信是模拟的：不需要 AppID、域名和数据库",
    ),
    (
        "Port of the phone page and the site over HTTP; else 8080, or the next free one",
        "手机页面和站点的 HTTP 端口；默认 8080，被占用时用下一个空闲端口",
    ),
    (
        "Port of the site over HTTPS, with a certificate made on first run; else 8443",
        "站点的 HTTPS 端口，证书在第一次运行时自动生成；默认 8443",
    ),
    (
        "Port of the internal API; else 8081",
        "内部接口的端口；默认 8081",
    ),
    (
        "Port of the simulated WeChat; else 8082",
        "模拟微信的端口；默认 8082",
    ),
    (
        "The `PORT` of your own business server; else a free one",
        "传给你自己的业务服务器的 `PORT`；默认选一个空闲端口",
    ),
    (
        "Where the database, the certificate, uploads and logs are kept",
        "数据库、证书、上传的文件和日志存放的目录",
    ),
    (
        "What to log: `warn`, `info`, `debug`, or a filter such as `info,weappd_tunnel=debug`",
        "日志级别：`warn`、`info`、`debug`，或 `info,weappd_tunnel=debug` 这样的过滤规则",
    ),
    (
        "Your own business server in place of the chat room, after `--`: `weappd dev -- node app.js`",
        "用你自己的业务服务器代替聊天室，写在 `--` 之后：`weappd dev -- node app.js`",
    ),
    (
        "Write a commented weappd.toml with generated secrets",
        "生成一份带注释的 weappd.toml，密钥随机生成",
    ),
    (
        "Directory to write weappd.toml into",
        "weappd.toml 写到哪个目录",
    ),
    (
        "Overwrite a weappd.toml that is there",
        "覆盖已有的 weappd.toml",
    ),
    (
        "Check weappd.toml: every problem at once, with file, line and hint",
        "检查 weappd.toml：一次列出全部问题，附文件、行号和改法",
    ),
    ("The configuration file", "配置文件"),
    ("The same as --config", "与 --config 相同"),
    ("Print the problems as JSON", "以 JSON 格式输出问题"),
    (
        "Fail on warnings too, as before a deployment",
        "有警告也算失败，适合部署前使用",
    ),
    ("Serve what weappd.toml says", "按 weappd.toml 运行服务"),
    (
        "Say whether a weappd runs here: since when, where it listens, its apps",
        "查看这里是否有 weappd 在运行：运行了多久、监听哪些地址、有哪些应用",
    ),
    (
        "The configuration file of the running weappd",
        "正在运行的 weappd 的配置文件",
    ),
    (
        "The data directory of the running weappd",
        "正在运行的 weappd 的数据目录",
    ),
    ("Print JSON", "以 JSON 格式输出"),
    (
        "Make the weappd that runs here take what weappd.toml says now, without a restart",
        "让这里运行的 weappd 重新加载 weappd.toml，无需重启",
    ),
    (
        "Stop the weappd that runs here, in order",
        "让这里运行的 weappd 有序停止",
    ),
    (
        "Print what the apps of a running weappd print",
        "显示正在运行的 weappd 中各应用的输出",
    ),
    (
        "The app, as `weappd app list` shows it; all of them unless said",
        "应用名，见 `weappd app list`；不指定时为全部应用",
    ),
    ("How many lines to go back", "先显示最近多少行"),
    ("Go on printing as lines come", "持续显示新的输出"),
    (
        "List, restart and read the apps of a running weappd",
        "列出、重启正在运行的 weappd 中的应用，或查看它们的输出",
    ),
    (
        "Show every app: state, port, restarts, memory",
        "列出每个应用：状态、端口、重启次数、内存",
    ),
    ("Start an app that is stopped", "启动一个已停止的应用"),
    (
        "The app's name, as `weappd app list` shows it",
        "应用名，见 `weappd app list`",
    ),
    (
        "Stop an app and keep it stopped",
        "停止一个应用，不再自动启动",
    ),
    ("Stop an app and start it again", "重启一个应用"),
    (
        "Print an app's output, as `weappd logs` does",
        "显示应用的输出，与 `weappd logs` 相同",
    ),
    (
        "List, show and end the sessions of a running weappd",
        "列出、查看和结束正在运行的 weappd 的会话",
    ),
    (
        "Show a user's sessions: number, times, device",
        "列出一个用户的会话：编号、时间、设备",
    ),
    ("The user's openid", "用户的 openid"),
    ("Of this mini program only", "只看这个小程序"),
    (
        "Show one session or one user: name, phone number (masked), session keys' age, devices",
        "查看一个会话或一个用户：昵称、手机号（已打码）、session_key 的获取时间、设备",
    ),
    (
        "The session's number, as `weappd session list` shows it, or the user's openid",
        "会话编号（见 `weappd session list`），或用户的 openid",
    ),
    (
        "The same for an openid, as the other commands have it",
        "用户的 openid，写法与其他命令一致",
    ),
    (
        "End one session, a user's sessions, or everybody's",
        "结束一个会话、一个用户的会话，或所有用户的会话",
    ),
    (
        "The session's number, as `weappd session list` shows it",
        "会话编号，见 `weappd session list`",
    ),
    ("All sessions of this user", "这个用户的全部会话"),
    ("All sessions of everybody", "所有用户的全部会话"),
    (
        "The user's sessions of this mini program only",
        "只结束该用户在这个小程序的会话",
    ),
    (
        "See the messages WeChat pushed to a running weappd, and deliver dead letters anew",
        "查看微信推送给正在运行的 weappd 的消息，或重新投递死信",
    ),
    (
        "Show how many messages wait for the app, and how many were given up",
        "显示有多少消息在等待应用接收，有多少已放弃投递",
    ),
    (
        "Show the dead letters: messages the app did not take in days",
        "列出死信：应用连续几天都没有接收的消息",
    ),
    ("How many at most", "最多显示多少条"),
    (
        "Print JSON, with the messages themselves",
        "以 JSON 格式输出，包括消息内容",
    ),
    (
        "Deliver dead letters anew: all of them, or one",
        "重新投递死信：全部，或其中一条",
    ),
    (
        "The letter's number, as `weappd inbox list` shows it",
        "死信编号，见 `weappd inbox list`",
    ),
    (
        "Run the simulated WeChat alone, for the tests of any stack",
        "只运行模拟微信，供任何技术栈测试使用",
    ),
    ("Port on 127.0.0.1", "127.0.0.1 上的端口"),
    (
        "The mini program it knows; give it more than once for several",
        "它认识的小程序；可重复指定多个",
    ),
    (
        "The file with its app secret; one for all mini programs, or one for each in their order. Without one, the secret is `secret`",
        "存放 AppSecret 的文件；所有小程序共用一个，或按顺序各用一个。不指定时 AppSecret 是 `secret`",
    ),
    (
        "Where it pushes messages: `http://127.0.0.1:8080/weapp/message`",
        "把消息推送到哪里：`http://127.0.0.1:8080/weapp/message`",
    ),
    (
        "The token that signs pushed messages",
        "给推送消息签名的 Token",
    ),
    (
        "The EncodingAESKey, 43 characters; with it messages are encrypted",
        "EncodingAESKey，43 个字符；设置后消息会加密",
    ),
    (
        "The file with the certificate an https push address may show, or with who signed it; those this machine trusts, unless said",
        "https 推送地址所用的证书文件，或签发它的 CA 证书文件；不指定时按本机信任的 CA 校验",
    ),
    (
        "How much is encrypted: safe with a key and plain without one, unless said",
        "消息加密方式；不指定时，有 EncodingAESKey 用 safe，没有则用 plain",
    ),
    ("How pushed messages are written", "推送消息的数据格式"),
    (
        "Print what points an old Wafer business server at this weappd, and where it goes",
        "输出一份配置，让旧的 Wafer 业务服务器改用这个 weappd，并说明配置放在哪里",
    ),
    (
        "The site's host, when weappd.toml has several",
        "站点的域名；weappd.toml 里有多个站点时需要指定",
    ),
    ("What to print", "输出哪种配置"),
    (
        "sdk.config, JSON: the file that old servers read",
        "sdk.config，JSON：旧服务器读取的文件",
    ),
    (
        "A module for Node, with the names each SDK has for them",
        "Node 模块，配置项沿用各个 SDK 的名称",
    ),
    (
        "The variables that apps under weappd find",
        "weappd 传给应用的环境变量",
    ),
    ("Print shell completions", "输出命令行补全脚本"),
    ("The shell to complete for", "为哪个 shell 生成"),
    ("English", "English"),
    ("中文", "中文"),
];

/// What follows the help of `weappd` itself.
const AFTER_HELP: &str = "例如：
  weappd dev               在本机运行全部服务，微信是模拟的
  weappd init              生成一份带注释的 weappd.toml
  weappd check             一次列出 weappd.toml 的全部问题
  weappd serve             运行服务

退出码：0 成功，1 失败，2 命令行参数有误，70 weappd 的某个部分崩溃，78 配置有问题。";

const TEMPLATE: &str = "{about}\n\n用法：{usage}\n\n{all-args}{after-help}";

/// The Chinese text of a help text.
fn chinese(english: &str) -> Option<&'static str> {
    let known = TEXTS.iter().find(|(known, _)| *known == english);
    known.map(|(_, chinese)| *chinese)
}

/// The command line with its help in Chinese.
pub(super) fn in_chinese(mut command: Command) -> Command {
    command.build();
    translated(command, true)
}

fn translated(mut command: Command, is_root: bool) -> Command {
    if let Some(about) = command.get_about().map(ToString::to_string) {
        command = command.about(chinese(&about).unwrap_or_default());
    }
    if is_root {
        command = command.after_help(AFTER_HELP);
    }
    command
        .help_template(TEMPLATE)
        .subcommand_help_heading("命令")
        .mut_args(translated_arg)
        .mut_subcommands(|inner| translated(inner, false))
}

fn translated_arg(arg: Arg) -> Arg {
    let english = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut help = chinese(&english).unwrap_or_default().to_owned();
    let takes_value = arg.get_action().takes_values();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| takes_value && !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    if !values.is_empty() {
        help = format!("{help}（可用：{}）", values.join("、"));
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        help = format!("{help}（默认：{}）", defaults.join("、"));
    }
    let heading = if arg.is_positional() {
        "参数"
    } else {
        "选项"
    };
    arg.help(help.clone())
        .long_help(help)
        .help_heading(heading)
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// The language of a command line that is not read yet, `variable` being the environment.
pub(super) fn language_of(words: &[String], variable: impl Fn(&str) -> Option<String>) -> Language {
    let own = words.iter().take_while(|word| *word != "--");
    let own: Vec<&str> = own.map(String::as_str).collect();
    let said = own.iter().enumerate().rev().find_map(|(at, word)| {
        let value = word.strip_prefix("--lang=");
        value.or_else(|| (*word == "--lang").then(|| own.get(at + 1).copied())?)
    });
    match said {
        Some("zh") => Language::Chinese,
        Some("en") => Language::English,
        _ => Language::of_environment(variable),
    }
}

/// What is wrong with a command line, in Chinese; `None` where clap's own words must do.
pub(super) fn complaint(error: &clap::Error) -> Option<String> {
    let of = |kind| error.get(kind).map(text).unwrap_or_default();
    let arg = of(ContextKind::InvalidArg);
    let sentence = match error.kind() {
        ErrorKind::UnknownArgument => format!("没有 {arg} 这个参数"),
        ErrorKind::InvalidSubcommand => {
            format!("没有 {} 这个命令", of(ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingRequiredArgument => format!("缺少参数：{arg}"),
        ErrorKind::ArgumentConflict => {
            format!("{arg} 不能与 {} 同时使用", of(ContextKind::PriorArg))
        }
        ErrorKind::InvalidValue if of(ContextKind::InvalidValue).is_empty() => {
            format!("{arg} 需要一个值")
        }
        ErrorKind::InvalidValue => format!(
            "{arg} 的值不能是“{}”（可用：{}）",
            of(ContextKind::InvalidValue),
            of(ContextKind::ValidValue)
        ),
        ErrorKind::ValueValidation => format!(
            "{arg} 的值不能是“{}”{}",
            of(ContextKind::InvalidValue),
            std::error::Error::source(error)
                .map(|why| format!("（{why}）"))
                .unwrap_or_default()
        ),
        ErrorKind::TooManyValues => {
            format!("{arg} 的值多了一个：“{}”", of(ContextKind::InvalidValue))
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{arg} 的值的个数不对")
        }
        _ => return None,
    };
    let close = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let close = close.map(of).into_iter().find(|word| !word.is_empty());
    let close = close.map(|word| format!("是不是想输入 {word}？"));
    let own = Some(of(ContextKind::Suggested)).filter(|tip| !tip.is_empty());
    let tip = own.or(close).map(|tip| format!("\n\n  提示：{tip}"));
    let tip = tip.unwrap_or_default();
    let usage = of(ContextKind::Usage);
    let usage = usage.trim_start_matches("Usage:").trim();
    let usage = if usage.is_empty() {
        String::new()
    } else {
        format!("\n\n用法：{usage}")
    };
    Some(format!(
        "错误：{sentence}{tip}{usage}\n\n加上 --help 可以看到全部参数。\n"
    ))
}

fn text(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join("、"),
        ContextValue::StyledStrs(all) => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join("；")
        }
        ContextValue::None => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::super::CliArgs;
    use super::*;

    /// Every text of the help.
    fn texts(command: &Command) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        all.extend(command.get_about().map(ToString::to_string));
        for arg in command.get_arguments() {
            all.extend(arg.get_help().map(ToString::to_string));
            let values = arg.get_possible_values();
            all.extend(
                values
                    .iter()
                    .filter_map(|value| value.get_help())
                    .map(ToString::to_string),
            );
        }
        for inner in command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set())
        {
            all.extend(texts(inner));
        }
        all
    }

    #[test]
    fn every_text_of_the_help_has_a_chinese_one_and_none_is_left_over() {
        let mut command = CliArgs::command();
        command.build();
        let used = texts(&command);
        for text in &used {
            assert!(chinese(text).is_some(), "no Chinese text for: {text}");
        }
        for (english, _) in TEXTS {
            assert!(
                used.iter().any(|text| text == english),
                "nobody says: {english}"
            );
        }
    }

    #[test]
    fn the_help_is_chinese_at_every_command() {
        fn look(command: &mut Command) {
            let help = command.render_long_help().to_string();
            for english in [
                "Usage",
                "Options",
                "Arguments",
                "Commands",
                "default:",
                "values",
                "Print",
            ] {
                assert!(!help.contains(english), "{english} in:\n{help}");
            }
            assert!(help.contains("用法：weappd"), "{help}");
            for inner in command.get_subcommands_mut() {
                look(inner);
            }
        }
        let mut command = in_chinese(CliArgs::command());
        look(&mut command);
        let help = command.render_help().to_string();
        assert!(
            help.contains("退出码：") && help.contains("--lang"),
            "{help}"
        );
    }

    #[test]
    fn complaints_are_chinese_and_say_what_to_type() {
        for (words, wanted) in [
            (
                &["weappd", "serv"][..],
                &["没有 serv 这个命令", "serve"][..],
            ),
            (
                &["weappd", "check", "--jso"],
                &["没有 --jso 这个参数", "--json", "用法：weappd check"],
            ),
            (&["weappd", "session", "revoke"], &["缺少参数"]),
            (&["weappd", "session", "list"], &["缺少参数", "--openid"]),
            (&["weappd", "--lang", "fr", "check"], &["“fr”", "en、zh"]),
            (&["weappd", "dev", "--http", "x"], &["--http", "“x”"]),
            (
                &["weappd", "check", "a", "--config", "b"],
                &["不能与", "同时使用"],
            ),
            (&["weappd", "check", "--config"], &["需要一个值"]),
        ] {
            let error = CliArgs::try_parse_from(words).map(drop).expect_err("wrong");
            let told = complaint(&error).unwrap_or_default();
            for part in wanted {
                assert!(told.contains(part), "{part} in:\n{told}\n{error}");
            }
            assert!(!told.contains("error") && !told.contains("tip:"), "{told}");
        }
    }

    #[test]
    fn the_language_is_known_before_the_rest_is_read() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            language_of(&words, |_| None)
        };
        for words in [
            &["--lang", "zh", "chek"][..],
            &["dev", "--lang=zh"],
            &["--lang", "en", "--lang", "zh"],
        ] {
            assert_eq!(of(words), Language::Chinese, "{words:?}");
        }
        for words in [
            &["dev", "--", "--lang", "zh"][..],
            &["--lang"],
            &["--lang", "fr"],
            &[],
        ] {
            assert_eq!(of(words), Language::English, "{words:?}");
        }
        let chinese = |name: &str| (name == "LANG").then(|| "zh_CN.UTF-8".to_owned());
        assert_eq!(language_of(&[], chinese), Language::Chinese);
        let said = ["--lang".to_owned(), "en".to_owned()];
        assert_eq!(language_of(&said, chinese), Language::English);
    }
}
