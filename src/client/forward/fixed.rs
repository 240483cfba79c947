//! One response for all requests.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::answer::answered;
use super::record::Record;
use crate::client::visit::{Up, Visit};
use crate::proto::exchange::{InlineBody, is_without_content};

/// What a body is that nobody has given a type: nothing that a browser runs.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers with one response.
#[derive(Debug)]
pub(super) struct Fixed {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Fixed {
    pub(super) fn new(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Self {
        if !is_without_content(status) {
            headers.entry(header::CONTENT_TYPE).or_insert(TEXT);
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        Self { status, headers, body }
    }

    /// Serves one exchange: what the visitor sends is read to its end and dropped.
    pub(super) async fn serve(&self, visit: Visit, mut record: Record) {
        let Visit { request, mut body, answer } = visit;
        if request.body == InlineBody::Streamed {
            while !matches!(body.next().await, Some(Up::End { .. }) | None) {}
        }
        record.status(self.status.as_u16());
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        answered(response, "the response", &*request.method == "HEAD", answer, record).await;
    }
}
