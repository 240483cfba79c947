//! What one side has emitted and heard.

use std::collections::BTreeMap;

use bytestring::ByteString;

use crate::proto::socket_io::connection::{AckError, Answer};
use crate::proto::socket_io::packet::Args;

/// The events of one side: how many it has emitted, how many of the peer's it has heard, and the acks that it awaits.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) emitted: u64,
    pub(super) heard: u64,
    pub(super) awaited: BTreeMap<u64, ()>,
    pub(super) has_joined: bool,
    pub(super) has_left: bool,
}

impl Side {
    /// Events come in order, each once.
    pub(super) fn hear(&mut self, args: &Args) {
        assert_eq!(args.get(1), Some(&*self.heard.to_string()), "the next event is heard");
        self.heard += 1;
    }

    pub(super) fn acked(&mut self, waiter: u64, outcome: Result<Answer, AckError>, is_disturbed: bool) {
        assert!(self.awaited.remove(&waiter).is_some(), "a waiter is told once");
        match outcome {
            Ok(answer) => assert_eq!(answer.args.get(0), Some(&*waiter.to_string()), "the ack is that of its event"),
            Err(error) => assert!(is_disturbed, "{error:?}"),
        }
    }
}

/// Makes the ack of an event: its number.
pub(super) fn numbers(event: &Answer) -> Answer {
    let json = ByteString::from(format!("[{}]", event.args.get(1).unwrap_or_default()));
    Answer { args: Args::parse(json).expect("a list of a number"), attachments: Vec::new() }
}
