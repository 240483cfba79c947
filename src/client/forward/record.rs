//! What is told of an exchange once it is over, however that comes about.

use std::time::Instant;

use super::super::api::printable;
use super::super::report::{Report, Reporter, Served};
use crate::proto::exchange::Request;

/// An exchange that goes on. It is told of when this value is dropped.
pub(super) struct Record {
    report: Reporter,
    began: Instant,
    served: Served,
    is_complete: bool,
}

impl Record {
    /// Begins an exchange.
    pub(super) fn begin(request: &Request, report: &Reporter) -> Self {
        let served = Served {
            id: request.id.clone(),
            method: printable(&request.method).into(),
            target: printable(&[&*request.path, &*request.search].concat()),
            visitor: request.remote_address.clone(),
            status: None,
            took: std::time::Duration::ZERO,
            bytes: 0,
            error: None,
        };
        Self { report: report.clone(), began: Instant::now(), served, is_complete: false }
    }

    /// Notes the head of the response.
    pub(super) fn status(&mut self, status: u16) {
        self.served.status = Some(status);
    }

    /// Notes bytes of the response's body.
    pub(super) fn bytes(&mut self, bytes: usize) {
        self.served.bytes += bytes as u64;
    }

    /// Notes that the response is complete.
    pub(super) fn complete(mut self) {
        self.is_complete = true;
    }

    /// Notes why there is no complete response.
    pub(super) fn fail(mut self, why: &str) {
        self.served.error = Some(why.to_owned());
        self.is_complete = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.served.took = self.began.elapsed();
        if !self.is_complete {
            self.served.error = Some("the visitor has left, or the connection to the server is lost".to_owned());
        }
        (self.report)(Report::Request(self.served.clone()));
    }
}
