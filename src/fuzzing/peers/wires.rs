//! What is on its way between a client and a server.

use std::collections::VecDeque;

use crate::proto::engine_io::Frame;
use crate::proto::engine_io::payload::Body;

/// What is on its way to the server on one connection.
#[derive(Debug)]
pub(super) enum Up {
    Get(u64),
    Post(Body),
    Open,
    Frame(Frame),
}

/// What is on its way to the client on one connection.
#[derive(Debug)]
pub(super) enum Down {
    Polled(Body),
    Failed,
    Posted(bool),
    Opened,
    Frame(Frame),
    Lost,
}

/// One connection, or all of one kind, of which the client uses one at a time.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) up: VecDeque<Up>,
    pub(super) down: VecDeque<Down>,
}
