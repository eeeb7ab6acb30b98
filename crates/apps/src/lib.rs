//! Keeps business processes alive: starts them, knows when they are ready, starts them
//! again when they end, keeps their logs, ends them and everything they started.
//!
//! # Map
//!
//! - [`config`]: the `[apps.name]` sections; `command` splits `run` and finds the program,
//!   `placeholder` puts the port in, `environment` says which variables a child gets.
//! - `supervisor`: the head, [`AppSupervisor`]; `instance`: one instance, as a task; `context`: what
//!   they share; `restart`:
//!   when to start again, a pure function; `app`: what is known of an app; `app_spec`: what one is
//!   to be; `app_entry`: the way to its instances; `app_tasks`: the tasks of all.
//! - `reload`: apps begin, change and end while weappd runs.
//! - `spawner`: the thread that starts processes, `start_plan` what it is told; `launch`: what ties a child's life to
//!   weappd's; `process`: one child and its group; `journal` and `procfs`: finding and
//!   ending what a killed weappd left.
//! - `ready`: whether a child is ready; `search` and `listening`: what is known of one that is
//!   not; `spool` and `logs`: its output, on disk.
//! - [`http`]: the control API. `metrics` and `counters`: what is counted.
//!
//! # Invariants
//!
//! - A process is signalled only while it cannot be mistaken for another one: unreaped
//!   children by their group, all others by a handle checked against pid and start time.
//! - An address is published only while its process is ready.
//! - A child never waits for its log, and memory and disk for logs are bounded.
//! - An app is known by its name: a reload that leaves its section as it was does not touch it.
//! - Nothing but this room starts processes; it binds no port for itself.

mod app;
mod app_entry;
mod app_spec;
mod app_tasks;
mod command;
pub mod config;
mod context;
mod counters;
mod environment;
mod error;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/apps.rs"]
pub mod fuzzing;
pub mod http;
mod instance;
mod journal;
mod launch;
mod listening;
mod logs;
mod metrics;
mod placeholder;
mod process;
mod procfs;
mod ready;
mod reload;
mod restart;
mod search;
mod spawner;
mod spool;
mod start_plan;
mod supervisor;
#[cfg(test)]
mod tests;

pub use app::{AppAddresses, AppView, ExitReason, InstanceState, InstanceView};
pub use command::{SplitError, split};
pub use config::{AppConfig, problem_of_name};
pub use environment::{DENY_ENV, EnvVariables};
pub use error::{Error, StartError};
pub use launch::launch;
pub use logs::LogStream;
pub use reload::{AppChange, StagedApps};
pub use supervisor::{AppSupervisor, SupervisorParts};
