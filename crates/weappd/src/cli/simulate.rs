//! `weappd simulate`: the simulated WeChat alone, for the tests of any stack.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use weappd_base::language::pick;
use weappd_base::secret::Secret;
use weappd_base::small_file;
use weappd_base::words;
use weappd_simulator::{PushBodyFormat, PushEncryption, PushSettings};
use weappd_wechat::AppCredential;

use crate::cli::say;
use crate::exit::ExitFailure;
use crate::signals::{HangupMeaning, ShutdownSignals};
use crate::{listen, logging, simulated};

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// Port on 127.0.0.1
    #[arg(long, default_value_t = 8082)]
    port: u16,
    /// The mini program it knows; give it more than once for several
    #[arg(long, default_value = simulated::DEV_APPID)]
    appid: Vec<String>,
    /// The file with its app secret; one for all mini programs, or one for each in their
    /// order. Without one, the secret is `secret`
    #[arg(long)]
    secret_file: Vec<std::path::PathBuf>,
    /// Where it pushes messages: `http://127.0.0.1:8080/weapp/message`
    #[arg(long, requires = "push_token")]
    push_url: Option<String>,
    /// The token that signs pushed messages
    #[arg(long, requires = "push_url")]
    push_token: Option<String>,
    #[arg(
        long,
        requires = "push_url",
        help = "The EncodingAESKey, 43 characters; with it messages are encrypted"
    )]
    push_aes_key: Option<String>,
    /// The file with the certificate an https push address may show, or with who signed it;
    /// those this machine trusts, unless said
    #[arg(long, requires = "push_url")]
    push_trust: Option<std::path::PathBuf>,
    /// How much is encrypted: safe with a key and plain without one, unless said
    #[arg(long, requires = "push_url", value_enum)]
    push_mode: Option<PushMode>,
    /// How pushed messages are written
    #[arg(long, value_enum, default_value_t = PushFormat::Json)]
    push_format: PushFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PushMode {
    Plain,
    Compatible,
    Safe,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PushFormat {
    Json,
    Xml,
}

/// The text of a file that an option names.
fn readable(file: &Path, option: &str) -> Result<String, ExitFailure> {
    small_file::read_text(file, small_file::MAX_BYTES).map_err(|error| {
        let name = file.display();
        let hint = match error.kind() {
            io::ErrorKind::NotFound => pick(
                "make it, or give the name of one that is there",
                "请先建好这个文件，或写一个已有的文件",
            ),
            io::ErrorKind::PermissionDenied => {
                pick("let this user read it", "请让当前用户有权读取")
            }
            io::ErrorKind::InvalidData => pick("it must be a file of text", "它必须是文本文件"),
            _ => pick(
                "it must be a file of text that this user may read",
                "它必须是当前用户能读取的文本文件",
            ),
        };
        ExitFailure::say(
            words!(
                "the file {name} of {option} cannot be read: {error}",
                "无法读取 {option} 的文件 {name}：{error}"
            ),
            hint,
        )
    })
}

impl SimulateArgs {
    /// Every mini program with its secret.
    fn credentials(&self) -> Result<Vec<AppCredential>, ExitFailure> {
        let read =
            |file: &std::path::PathBuf| Ok(Secret::new(readable(file, "--secret-file")?.trim()));
        let mut secrets: Vec<Secret> = self
            .secret_file
            .iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        if secrets.len() <= 1 {
            let one = secrets.pop().unwrap_or_else(|| Secret::new("secret"));
            secrets = vec![one; self.appid.len()];
        }
        if secrets.len() != self.appid.len() {
            return Err(ExitFailure::say(
                pick(
                    "there are not as many secrets as mini programs",
                    "AppSecret 的个数与小程序不一致",
                ),
                pick(
                    "give --secret-file once for all, or once for each --appid",
                    "--secret-file 只写一次，或每个 --appid 各写一次",
                ),
            ));
        }
        let apps = self.appid.iter().cloned().zip(secrets);
        Ok(apps
            .map(|(appid, secret)| AppCredential { appid, secret })
            .collect())
    }

    fn push(&self) -> Result<Option<PushSettings>, ExitFailure> {
        let (Some(url), Some(token)) = (&self.push_url, &self.push_token) else {
            return Ok(None);
        };
        let trust = self.push_trust.as_ref();
        let trust = trust
            .map(|file| readable(file, "--push-trust"))
            .transpose()?;
        Ok(Some(PushSettings {
            appid: None,
            url: Some(url.clone()),
            trust,
            token: Secret::new(token.as_str()),
            encoding_aes_key: self.push_aes_key.clone().map(Secret::new),
            mode: self.push_mode.map(|mode| match mode {
                PushMode::Plain => PushEncryption::Plain,
                PushMode::Compatible => PushEncryption::Compatible,
                PushMode::Safe => PushEncryption::Safe,
            }),
            format: match self.push_format {
                PushFormat::Json => PushBodyFormat::Json,
                PushFormat::Xml => PushBodyFormat::Xml,
            },
            // The server is often started after this; POST /push/verify asks it.
            verify: false,
        }))
    }
}

pub(super) async fn run(args: SimulateArgs) -> Result<(), ExitFailure> {
    logging::start("warn", false)?;
    let signals = ShutdownSignals::listen(HangupMeaning::Ends)?;
    let credentials = args.credentials()?;
    let push = args.push()?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let socket = listen::bind(
        addr,
        pick("the simulated WeChat", "模拟微信"),
        pick("give --port another one", "用 --port 换一个端口"),
    )?;
    let addr = socket.local_addr().unwrap_or(addr);
    say(words!(
        "simulated WeChat on http://{addr}/ for appid {}\n\
         Next: use that address in place of https://api.weixin.qq.com; \
         `curl -X POST http://{addr}/phone/alice/login` gives a code. \
         The same address in a browser shows users, codes and calls. Ctrl-C stops.",
        "模拟微信在 http://{addr}/ ，AppID {}\n\
         下一步：用这个地址代替 https://api.weixin.qq.com；\
         `curl -X POST http://{addr}/phone/alice/login` 得到一个 code。\
         在浏览器里打开它，可以看到用户、code 和调用。按 Ctrl-C 停止。",
        args.appid.join(", ")
    ));
    simulated::alone(socket, credentials, push, signals).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_option() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("secret");
        std::fs::write(&file, b"\xFF").expect("written");
        for (name, what) in [
            ("nosuch", "make it"),
            ("secret", "a file of text"),
            (".", "text"),
        ] {
            let failure = readable(&dir.path().join(name), "--secret-file").expect_err(name);
            let words = format!("{failure:?}");
            assert!(
                words.contains(&format!("{name} of --secret-file")),
                "{words}"
            );
            assert!(words.contains(what), "{words}");
        }
        std::fs::write(&file, "s3cret\n").expect("written");
        assert_eq!(readable(&file, "--x").expect("read"), "s3cret\n");
    }
}
