//! `weappd simulate`: the simulated WeChat alone, for the tests of any stack.

use std::net::{Ipv4Addr, SocketAddr};

use weappd_base::secret::Secret;

use crate::cli::say;
use crate::exit::Failure;
use crate::{listen, logging, simulated};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Port on 127.0.0.1
    #[arg(long, default_value_t = 8082)]
    port: u16,
    /// The mini program it knows
    #[arg(long, default_value = simulated::DEV_APPID)]
    appid: String,
    /// The file its `AppSecret` stands in; without one, the secret is `secret`
    #[arg(long)]
    secret_file: Option<std::path::PathBuf>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    logging::start("warn", false)?;
    let secret = match &args.secret_file {
        None => Secret::new("secret"),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(&error, "--secret-file must name a readable file"))?;
            Secret::new(text.trim())
        }
    };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let socket = listen::bind(addr, "the simulated WeChat", "give --port another one")?;
    let addr = socket.local_addr().unwrap_or(addr);
    say(format_args!(
        "simulated WeChat on http://{addr}/ for appid {}\n\
         Next: use that address in place of https://api.weixin.qq.com; \
         `curl -X POST http://{addr}/phone/alice/login` gives a code. Ctrl-C stops.",
        args.appid
    ));
    simulated::alone(socket, args.appid, secret).await
}
