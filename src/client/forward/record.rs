//! What is told of an exchange once it is over, however that comes about.

use std::time::Instant;

use crate::client::api::printable;
use crate::client::report::{Report, Reporter, Served};
use crate::client::visit::{Ending, Visit};
use crate::proto::exchange::stream::AbortCode;

/// An exchange that goes on. It is told of when this value is dropped.
pub(super) struct Record {
    report: Reporter,
    began: Instant,
    served: Served,
    ending: Ending,
    is_complete: bool,
}

impl Record {
    /// Begins an exchange.
    pub(super) fn begin(visit: &Visit, report: &Reporter) -> Self {
        let request = &visit.request;
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
        Self { report: report.clone(), began: Instant::now(), served, ending: visit.ending(), is_complete: false }
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
            self.served.error = Some(match self.ending.aborted() {
                Some(AbortCode::VisitorGone) => "the visitor has left".to_owned(),
                Some(code) => format!("the request was given up: {code}"),
                None => "the connection to the server is lost".to_owned(),
            });
        }
        (self.report)(Report::Request(self.served.clone()));
    }
}
