//! Servers of the Wafer years behind the file that `weappd init` writes, and one that keeps
//! its users' sessions itself.

use std::fs;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message};

use super::{ClientDriver, OldAppServer, OldSoftware, WaferVersion, fixture, runs, stories};
use crate::mariadb::MariaDb;
use crate::process::free_port;
use crate::production;
use crate::tunnel::soon;
use crate::world::{APP_SECRET, APPID, TestWorld, WorldRecipe};

/// The file of `weappd init`, with its owner's names, this business server and nothing else
/// changed; the server gets the sdk.config that `weappd sdk-config` prints.
fn serve(software: &OldSoftware, server: &OldAppServer, dialects: &str) -> TestWorld {
    let recipe = WorldRecipe::new();
    let wechat = format!("http://{}", recipe.wechat);
    let env = server.env(software, "sdk.config".as_ref(), &wechat, APP_SECRET);
    let run = format!("run = \"sh start.sh\"\nenv = {env}");
    let file = production::own(&production::init());
    let file = file.replace("run = \"node app.js\"", &run);
    assert!(file.contains(&run), "{file}");
    // A server that is deployed has its sdk.config; here its ports are known only now.
    let start = format!(
        "while [ ! -f sdk.config ]; do sleep 0.05; done\nexec node '{}'\n",
        fixture(server.script()).display()
    );
    let world = recipe
        .whole(&format!("{dialects}\n{file}"))
        .file("start.sh", start)
        .serve();
    let config = world.command_with_secret(&["sdk-config"]);
    let words = String::from_utf8_lossy(&config.stderr);
    assert!(config.status.success(), "{words}");
    let [new, file] = ["sdk.config.new", "sdk.config"].map(|name| world.dir().join(name));
    fs::write(&new, config.stdout).expect("sdk.config");
    fs::rename(new, file).expect("sdk.config");
    world
}

async fn chat(software: &OldSoftware, wafer: WaferVersion, world: &TestWorld) {
    world.app_ready().await;
    let endpoint = runs::endpoint(world);
    let mut alice = ClientDriver::spawn(software, wafer, &endpoint, "alice");
    let mut bob = ClientDriver::spawn(software, wafer, &endpoint, "bob");
    stories::two_users_chat(&mut alice, &mut bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_init_serves_the_express_sdk() {
    let software = OldSoftware::install();
    for dialects in ["", "dialects = [\"wafer1\", \"wafer2\"]"] {
        let world = serve(&software, &OldAppServer::Wafer1, dialects);
        chat(&software, WaferVersion::One, &world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_init_serves_the_koa_sdk() {
    let software = OldSoftware::install();
    for dialects in ["[]", "[\"wafer1\"]"] {
        let store = MariaDb::start(&["cAuth"]);
        let dialects = format!("dialects = {dialects}");
        let world = serve(&software, &OldAppServer::Wafer2(&store), &dialects);
        chat(&software, WaferVersion::Two, &world).await;
    }
}

/// A server on `wafer-node-session`, which goes to WeChat by the name in its code.
fn serve_own_sessions(software: &OldSoftware, dialects: &str) -> TestWorld {
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let app = format!(
        "[app]\nrun = \"node '{}'\"\nenv = {{ NODE_PATH = '{}', WX_APPID = '{APPID}', \
         WX_APPSECRET = '{APP_SECRET}' }}",
        fixture("session-server.js").display(),
        software.modules().display()
    );
    WorldRecipe::new()
        .site(dialects)
        .internal(&format!("wechat_https = \"{at}\""))
        .sections(&app)
        .serve()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_sessions_of_its_own_runs_unchanged() {
    let software = OldSoftware::install();
    for dialects in ["dialects = []", ""] {
        let world = serve_own_sessions(&software, dialects);
        world.app_ready().await;
        let endpoint = runs::endpoint(&world);
        let mut alice = ClientDriver::spawn(&software, WaferVersion::One, &endpoint, "alice");
        stories::logs_in_and_in_again(WaferVersion::One, &mut alice);

        let who = stories::nick_after_login(&mut alice);
        let session = alice.session();
        let [id, skey] = ["id", "skey"].map(|name| session[name].as_str().expect(name).to_owned());
        let query = |skey: &str| format!("X-WX-Id={id}&X-WX-Skey={skey}");
        let mut socket = socket(&world, &query(&skey)).await.expect("opened");
        for word in ["你好", "a:b/c"] {
            soon(socket.send(Message::text(word))).await.expect("open");
            let heard = soon(socket.next()).await.expect("open").expect("a frame");
            assert_eq!(heard.as_text(), Some(&*format!("{who}: {word}")));
        }
        assert!(self::socket(&world, &query("0")).await.is_none());
        assert!(self::socket(&world, "").await.is_none());
    }
}

/// The server's own WebSocket, if it opens.
async fn socket(
    world: &TestWorld,
    query: &str,
) -> Option<tokio_websockets::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>> {
    let tcp = TcpStream::connect(world.https).await.expect("the site");
    let name = "localhost".try_into().expect("a name");
    let tls = crate::http::connector(&world.ca(), &[]).connect(name, tcp);
    let tls = tls.await.expect("a TLS handshake");
    let url = format!("wss://localhost:{}/chat?{query}", world.https.port());
    let builder = ClientBuilder::from_uri(url.parse().expect("a URL"));
    let opened = soon(builder.connect_on(tls)).await;
    opened.ok().map(|(socket, _)| socket)
}
