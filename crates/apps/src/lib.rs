//! Keeps business processes alive.

pub mod command;
pub mod config;
pub mod error;
