//! The way through the front door: a request to a business server and a file, over HTTPS,
//! beside nginx.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bench::load::{CONNECTIONS, Turn};
use crate::bench::nginx::{self, Nginx};
use crate::bench::options::Options;
use crate::bench::process::{Process, free_port};
use crate::bench::ratio;
use crate::bench::replay::{List, Order, Pace};
use crate::bench::table;
use crate::bench::world::{Base, Running, World};
use crate::run::say;

/// What the business server answers, and what the file holds.
const ANSWER: &str = r#"{"code":0,"data":{"orders":[1,2,3,4]}}"#;
const FILE_BYTES: usize = 4096;

/// One thing asked for, and who is asked.
struct Errand {
    what: &'static str,
    list: List,
    /// nginx is the last.
    servers: Vec<Running>,
}

/// Measures both, each server in turn.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let (app, errands) = prepare(world)?;
    let mut raw: Vec<Value> = Vec::new();
    for errand in errands {
        let mut turns: Vec<(&str, Vec<Turn>)> = Vec::new();
        turns.extend(
            errand
                .servers
                .iter()
                .map(|server| (server.name, Vec::new())),
        );
        for round in 1..=options.rounds {
            for (server, (name, turns)) in errand.servers.iter().zip(&mut turns) {
                let turn = |seconds| {
                    let pace = Pace {
                        connections: CONNECTIONS,
                        seconds: Some(seconds),
                        tls: true,
                        keep: None,
                    };
                    errand.list.send(base, server, Some(&app), pace)
                };
                turn(1)?;
                let turn = turn(options.seconds)?;
                say(&format!(
                    "round {round}: {name}, {}: {:.2} us, {:.0} requests/s",
                    errand.what, turn.cpu_us, turn.requests_a_second
                ));
                raw.push(turn.json(&format!("{name}, {}", errand.what), round));
                turns.push(turn);
            }
        }
        table::print(&format!(
            "{} over HTTPS, {CONNECTIONS} connections; median (least-most) of {} rounds of {} s; \
             every answer checked, 0 wrong; nginx writes no access log\n",
            errand.what, options.rounds, options.seconds
        ));
        ratio::print(&turns, "request");
    }
    table::keep("front", &base.machine, &raw)
}

/// The business server, and the servers before it.
fn prepare(world: &World) -> Result<(Process, [Errand; 2]), String> {
    let base = &world.base;
    let files = base.dir.join("front-files");
    let file: String = "0123456789abcdef".repeat(FILE_BYTES / 16);
    fs::create_dir_all(&files)
        .and_then(|()| fs::write(files.join("a.js"), file))
        .map_err(|error| format!("{}: {error}", files.display()))?;
    let (app, port) = business_server(base)?;
    let errand = |what, [path, expected]: [&str; 2], serves, [dir, other, peer]: [&str; 3]| {
        let order = Order {
            asks: ("GET", path),
            headers: &[],
            body: "",
            expected: &[expected],
        };
        let list = base.dir.join(format!("{dir}.list"));
        let list = List::write(list, std::iter::once(order.line()))?;
        let home = world.weappd.serving(base, dir, serves)?;
        let other = home.beside(base, ("weappd, other build", other))?;
        let mut servers = vec![home.start(base)?];
        servers.extend(other.map(|home| home.start(base)).transpose()?);
        servers.push(peer_server(base, peer, port, &files)?);
        Ok::<_, String>(Errand {
            what,
            list,
            servers,
        })
    };
    Ok((
        app,
        [
            errand(
                "A request to a business server",
                ["/api/orders?id=1", "\"orders\":[1,2,3,4]"],
                format!("proxy = {port}\n"),
                ["front-app", "front-app-beside", "front-app-nginx"],
            )?,
            errand(
                "A file of 4 KB",
                ["/a.js", "0123456789abcdef0123456789abcdef"],
                format!("root = \"{}\"\n", files.display()),
                ["front-file", "front-file-beside", "front-file-nginx"],
            )?,
        ],
    ))
}

/// Says the same to everybody. Its CPU counts for nobody.
fn business_server(base: &Base) -> Result<(Process, u16), String> {
    let port = free_port()?;
    let inner = format!(
        "server {{\n\
         listen 127.0.0.1:{port};\n\
         location / {{ default_type application/json; return 200 '{ANSWER}'; }}\n\
         }}\n"
    );
    let on = (base.machine.client_cores, base.machine.client_threads);
    let dir = base.dir.join("front-business");
    Ok((Nginx::prepare(&dir, on, port, &inner)?.start()?, port))
}

/// nginx at the front door, with its files kept open as weappd keeps them.
fn peer_server(base: &Base, dir: &str, app: u16, files: &Path) -> Result<Running, String> {
    let port = free_port()?;
    let inner = format!(
        "location /a.js {{\n\
         root {};\n\
         types {{ text/javascript js; }}\n\
         open_file_cache max=1000;\n\
         sendfile on;\n\
         }}\n",
        files.display()
    );
    let on = (base.machine.server_cores, base.machine.server_threads);
    let dir = base.dir.join(dir);
    let front = nginx::front(base, port, app, &inner);
    let nginx = Nginx::prepare(&dir, on, port, &front)?.start()?;
    Ok(Running {
        name: "nginx",
        port,
        users_file: base.dir.clone(),
        dir,
        processes: vec![("nginx", nginx)],
    })
}
