//! placeholder
pub mod config;
mod kind;
pub use config::Config;
