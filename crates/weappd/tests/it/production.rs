//! What a newcomer types, under `weappd serve`: the READMEs' files, the file of
//! `weappd init` with only the edits it asks for, and the examples, each with phones that log
//! in, chat through tunnels and upload.

mod issuers;
mod stop;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyper::StatusCode;
use serde_json::Value;

use crate::files;
use crate::http;
use crate::old_software::{OldSoftware, WaferVersion, runs, stories};
use crate::world::{APPID, TestWorld, WEAPPD, WorldRecipe, text};

/// The checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(checkout().join(name)).expect(name)
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// The one block with this line in it.
pub(crate) fn block_with(page: &str, line: &str) -> String {
    let blocks = blocks(page, "toml").into_iter();
    let mut fitting: Vec<String> = blocks.filter(|block| block.contains(line)).collect();
    assert_eq!(fitting.len(), 1, "{line}");
    fitting.remove(0)
}

/// The edits every page asks for: one's own domain and AppID.
pub(crate) fn own(file: &str) -> String {
    let appid = file
        .split('"')
        .find(|word| word.starts_with("wx"))
        .unwrap_or("none");
    file.replace("\"www.example.com\"", "\"localhost\"")
        .replace(appid, APPID)
}

/// The chat room of the example, as the app that the file names.
fn chat_room(recipe: WorldRecipe, script: &str) -> WorldRecipe {
    recipe.file(script, read("examples/node-chat/server.js"))
}

/// Login, upload and chat, as a phone of Wafer 2 does them.
async fn phones_find_everything(world: &TestWorld) {
    world.app_ready().await;
    let mut phone = world.phone("carol");
    phone.log_in().await;
    assert_eq!(phone.user().await["code"], 0);
    let body = files::form("a.png", "image/png", files::PNG);
    let answer = files::upload(&phone, &world.site(), body).await;
    let told: Value = http::json(&answer);
    let url = text(&told["data"]["imgUrl"]);
    let path = url.strip_prefix("https://localhost").expect("the site's");
    let picture = world.site().get(path).send().await;
    assert_eq!(
        (picture.status(), &picture.body()[..]),
        (StatusCode::OK, files::PNG)
    );
    stories::chats_in_the_demo_room(WaferVersion::Two, &runs::endpoint(world));
}

#[tokio::test]
async fn the_smallest_file_of_both_readmes_serves() {
    for readme in ["README.md", "README.zh-CN.md"] {
        let file = own(&block_with(&read(readme), "run = \"node app.js\""));
        let recipe = WorldRecipe::new().whole(&file);
        let world = chat_room(recipe, "app.js").serve();
        phones_find_everything(&world).await;
    }
}

/// The file that `weappd init` writes.
pub(crate) fn init() -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut init = Command::new(WEAPPD);
    let done = init
        .arg("init")
        .current_dir(dir.path())
        .output()
        .expect("weappd runs");
    assert!(done.status.success());
    fs::read_to_string(dir.path().join("weappd.toml")).expect("weappd.toml")
}

#[tokio::test]
async fn the_file_of_init_serves_with_the_edits_it_asks_for() {
    let recipe = WorldRecipe::new().whole(&own(&init()));
    let world = chat_room(recipe, "app.js").serve();
    phones_find_everything(&world).await;
}

#[tokio::test]
async fn the_chat_example_serves_as_its_readme_says() {
    let readme = read("examples/node-chat/README.md");
    let file = own(&block_with(&readme, "run = \"node server.js\""));
    let world = chat_room(WorldRecipe::new().whole(&file), "server.js").serve();
    phones_find_everything(&world).await;
}

#[tokio::test]
async fn the_chat_example_serves_phones_of_both_generations() {
    let readme = read("examples/node-chat/README.md");
    let file = own(&block_with(&readme, "run = \"node server.js\""));
    for (dialects, spoken) in [
        ("[\"wafer1\"]", vec![WaferVersion::One]),
        (
            "[\"wafer1\", \"wafer2\"]",
            vec![WaferVersion::One, WaferVersion::Two],
        ),
    ] {
        let file = format!("dialects = {dialects}\n{file}");
        let world = chat_room(WorldRecipe::new().whole(&file), "server.js").serve();
        world.app_ready().await;
        for wafer in spoken {
            stories::chats_in_the_demo_room(wafer, &runs::endpoint(&world));
        }
    }
}

#[tokio::test]
async fn the_koa_example_is_kept_alive_as_its_readme_says() {
    let readme = read("examples/koa-hello/README.md");
    let app = block_with(&readme, "run = \"node app.js\"");
    let example = read("examples/koa-hello/weappd.toml");
    let (last, rest) = example
        .trim_end()
        .rsplit_once('\n')
        .map_or(("", ""), |(rest, last)| (last, rest));
    assert!(last.starts_with("proxy"), "{example}");
    let software = OldSoftware::install();
    let world = WorldRecipe::new()
        .whole(&format!("{}\n{app}", own(rest)))
        .file("app.js", read("examples/koa-hello/app.js"))
        .folder("node_modules", software.modules())
        .serve();
    world.app_ready().await;
    let answer = world.site().get("/").send().await;
    assert_eq!(http::json(&answer)["hello"], "world");
}

#[tokio::test]
async fn four_lines_put_https_before_a_server_that_runs() {
    let page = read("README.md");
    let line = "`proxy = \"127.0.0.1:1937\"`";
    for readme in [&page, &read("README.zh-CN.md")] {
        assert!(readme.contains("`domain`") && readme.contains(line));
    }
    let example = read("examples/koa-hello/weappd.toml");
    let app = crate::upstream::serve(crate::upstream::echo());
    let file = own(&example).replace("127.0.0.1:1937", &app.to_string());
    assert_eq!(file.lines().count(), 4, "{file}");
    let world = WorldRecipe::new().whole(&file).serve();
    let answer = world.site().get("/hello").send().await;
    assert_eq!(answer.status(), StatusCode::OK);
    let plain = http::TestClient::http(world.http, "localhost");
    let plain = plain.get("/hello").send().await;
    assert_eq!(plain.status(), StatusCode::MOVED_PERMANENTLY);
}
