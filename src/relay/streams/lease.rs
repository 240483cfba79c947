//! An exchange's hold on its stream.

use std::sync::Arc;

use super::message::ToSession;
use super::stream::Stream;
use crate::proto::exchange::stream::AbortCode;

/// The exchange's hold on its stream. Dropped before it is [done](Self::done), the exchange is broken off: its visitor is gone.
#[derive(Debug)]
pub(in crate::relay) struct Lease {
    stream: Arc<Stream>,
    code: Option<AbortCode>,
}

impl Lease {
    pub(in crate::relay) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, code: Some(AbortCode::VisitorGone) }
    }

    pub(in crate::relay) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The exchange is over in order.
    pub(in crate::relay) fn done(&mut self) {
        self.code = None;
    }

    /// The exchange is over for another reason than that its visitor is gone.
    pub(in crate::relay) fn fail(&mut self, code: AbortCode) {
        self.code = Some(code);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stream.stop_down();
        self.stream.stop_up();
        self.stream.tell(ToSession::Leave(self.stream.id(), self.code));
    }
}
