//! What several suites share: a server in this process, and clients of every kind.

pub(crate) mod end;
pub(crate) mod wire;
