//! `cargo xtask bench`: the project's numbers against its peers, in one run on one machine.
//!
//! A [`world`] is prepared first: binaries, a certificate, a simulated WeChat, and 1,000 users
//! who really log in at every server. Then each part measures: [`check`] a session check over
//! HTTPS, [`cold`] one without a cache, [`login`] durable logins, [`decrypt`] opening what
//! WeChat encrypted, [`front`] the way to a business server and to a file,
//! [`proxy`] the way to WeChat's API, [`start`] the time to the first answer,
//! [`memory`] what the processes hold. Every part prints a table and leaves its raw rows in `target/bench`. What is measured and how to
//! read it stands in docs/benchmarks.md.
//!
//! # To add a measurement
//!
//! A variant of [`options::Part`], a file here with `run(&World, &Options)`, a line in
//! [`run`], and its section in docs/benchmarks.md.

mod build;
mod check;
mod cold;
mod decrypt;
mod files;
mod front;
mod http;
mod load;
mod login;
mod machine;
mod mariadb;
mod memory;
mod nginx;
mod options;
mod process;
mod procfs;
mod proxy;
mod ratio;
mod replay;
mod stack;
mod start;
mod stats;
mod table;
mod users;
mod weappd;
mod wechat;
mod world;

use crate::install;
use options::{Options, Part};
use world::World;

/// Measures what the arguments ask for.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let options = Options::read(args)?;
    install::everything()?;
    let world = World::prepare(&options)?;
    table::print(&world.base.machine.describe());
    for part in &options.parts {
        match part {
            Part::Check => check::run(&world, &options)?,
            Part::Cold => cold::run(&world, &options)?,
            Part::Login => login::run(&world, &options)?,
            Part::Decrypt => decrypt::run(&world, &options)?,
            Part::Front => front::run(&world, &options)?,
            Part::Proxy => proxy::run(&world, &options)?,
            Part::Start => start::run(&world, &options)?,
            Part::Memory => memory::run(&world, &options)?,
        }
    }
    Ok(())
}
