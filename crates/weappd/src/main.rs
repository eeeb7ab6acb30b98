//! weappd: everything a WeChat Mini Program needs on the server, in one binary.
//!
//! This file turns argv into an exit code and nothing else; `cli` has a file for each
//! command, `wiring` puts the rooms together.

mod app_output;
mod apply;
mod bound_sockets;
mod builtin;
mod cli;
mod config;
mod control;
mod data_dir;
mod demo_chat;
mod descriptors;
mod dev_cert;
mod edge_servers;
mod exit;
mod gateway;
mod host_lookup;
mod internal;
mod listen;
mod logging;
mod loopback;
mod metrics;
mod pictures;
mod plan;
mod plan_source;
mod reload;
mod rooms;
mod server_context;
mod server_watch;
mod session_leases;
mod signals;
mod simulated;
mod site_rooms;
mod stand_in;
mod status;
mod wiring;
mod withdrawals;

use std::process::ExitCode;

/// Gives memory back, and keeps idle connections small (docs/decisions/0001).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
