//! The suites that test the server in this process. They are modules of one test program, which links once; to run one
//! suite, name it: `cargo test --test protocol relay::`.

#![allow(clippy::unwrap_used, reason = "a test's failure is the report")]

#[cfg(target_os = "linux")]
mod access_log;
#[cfg(target_os = "linux")]
mod acme;
#[cfg(target_os = "linux")]
mod cluster;
#[cfg(target_os = "linux")]
mod configuring;
mod endings;
mod engine_io;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod forward;
mod hostile;
#[cfg(target_os = "linux")]
mod redis;
mod relay;
#[cfg(target_os = "linux")]
mod restarting;
#[cfg(target_os = "linux")]
mod secrets;
mod simulated_time;
mod socket_io;
#[cfg(target_os = "linux")]
mod starting;
#[cfg(target_os = "linux")]
mod streams;
mod support;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod tls;
#[cfg(target_os = "linux")]
mod tools;
