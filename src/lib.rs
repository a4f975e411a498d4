//! skeleton
pub mod alert;
pub mod config;
pub mod container;
pub mod error;
pub mod event;
pub mod fingerprint;
pub mod host;
pub mod sink;
