//! What every room stands on: a clock, owned tasks, random bytes, secrets, the traffic tap.
//!
//! # Map
//!
//! - [`clock`]: what time it is, as a value that tests can move.
//! - [`tasks`]: [`Tasks`](tasks::Tasks) own every spawned task, [`Stop`](tasks::Stop) ends
//!   them, [`Work`](tasks::Work) carries slow work off the edge threads.
//! - [`rate_limit`]: how often something may happen: deeds, and log lines that anybody can cause.
//! - [`random`]: ids and keys nobody can guess.
//! - [`causes`]: errors told with what caused them.
//! - [`error_body`]: what a refused request is told.
//! - [`fair_timer`]: upper bounds of time in tests, on busy machines.
//! - [`file_place`]: whether an open file still stands at its path.
//! - [`json`]: bodies that must be objects.
//! - [`local_host`]: the names by which programs call listeners of this machine.
//! - [`metrics`]: what is counted, and how a room takes part.
//! - [`open_files`]: what to do where no more files can be opened.
//! - [`request_id`]: the name of one request, wherever it is told of.
//! - [`secret`]: values that must not reach a log, an error or a client.
//! - [`small_file`]: files that a setting names, read up to a size.
//! - [`tap`]: what went over the wire, for the sequence diagram of `weappd dev`.
//! - [`unix_time`]: moments of the wall clock, each with its unit.
//!
//! # Invariants
//!
//! `base` imports no room. Ambient time, randomness and `tokio::spawn` are used here and
//! nowhere else.

pub mod causes;
pub mod clock;
pub mod error_body;
pub mod fair_timer;
pub mod file_place;
pub mod json;
pub mod language;
pub mod local_host;
pub mod metrics;
pub mod open_files;
pub mod random;
pub mod rate_limit;
pub mod request_id;
pub mod secret;
pub mod setting_problem;
pub mod small_file;
pub mod tap;
pub mod tasks;
pub mod unix_time;
