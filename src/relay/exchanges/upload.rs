//! A visitor's body on its way to the end, in a task of its own: it goes on while the response does.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::net::body::{self, BodyError, TakenBody};
use crate::proto::exchange::trailers_to_json;
use crate::relay::streams::{IDLE, Stall, Stream};

/// What is read and dropped of a body that nobody wants any more, so that the response arrives whose visitor still sends.
const DROPPED_BYTES: usize = 1 << 20;
const DROPPED_TIME: Duration = Duration::from_secs(5);

/// Brings a body to the end as that takes it, and completes when nothing more is to be read. `limit` is the largest body, in bytes.
/// `gone` completes when the visitor has left, which nothing else tells while nothing is read. `_kept` is dropped at the end.
pub(super) async fn upload(
    mut body: TakenBody,
    stream: Arc<Stream>,
    limit: u64,
    gone: impl Future<Output = ()>,
    _kept: impl Send,
) {
    tokio::pin!(gone);
    let mut length: u64 = 0;
    let failure = loop {
        let has_room = tokio::select! {
            biased;
            has_room = timeout(IDLE, poll_fn(|cx| stream.poll_room(cx))) => has_room,
            () = &mut gone => break Stall::Body(BodyError::Incomplete),
        };
        let Ok(has_room) = has_room else { break Stall::NotTaken };
        if !has_room {
            // The exchange is over: it was answered early, or is broken off.
            body::discard(body, DROPPED_BYTES, DROPPED_TIME).await;
            return;
        }
        let frame = tokio::select! {
            biased;
            () = poll_fn(|cx| stream.poll_stopped(cx)) => continue,
            frame = timeout(IDLE, body.frame()) => frame,
        };
        match frame {
            Err(_) => break Stall::Body(BodyError::TooSlow),
            Ok(None) => return stream.put_end(None),
            Ok(Some(Err(_))) => break Stall::Body(BodyError::Incomplete),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    length += data.len() as u64;
                    if length > limit {
                        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                        break Stall::Body(BodyError::TooLarge(limit));
                    }
                    stream.put_bytes(&data);
                }
                Err(frame) => return stream.put_end(frame.into_trailers().ok().and_then(|trailers| json(&trailers))),
            },
        }
    };
    stream.fail(failure);
    // So that the response arrives which says why.
    body::discard(body, DROPPED_BYTES, DROPPED_TIME).await;
}

/// Returns trailers as JSON, if there are any that pass.
fn json(trailers: &HeaderMap) -> Option<ByteString> {
    let json = trailers_to_json(trailers);
    (json != "{}").then(|| json.into())
}
