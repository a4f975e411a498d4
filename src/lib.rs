//! skeleton
pub mod alert;
pub mod cli;
pub mod commands;
pub mod config;
pub mod container;
pub mod error;
pub mod event;
pub mod fingerprint;
pub mod host;
pub mod logging;
pub mod rate;
