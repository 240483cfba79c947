//! Clients that several suites share, and a server in this process.

pub(crate) mod end;
pub(crate) mod wire;
