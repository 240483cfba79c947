//! A response on its way to the visitor.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use http::Response;
use http::header::{self, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::record::Record;
use crate::causes::words;
use crate::client::visit::{Answering, BodyWriter};
use crate::proto::exchange::stream::{AbortCode, MAX_INLINE};
use crate::proto::exchange::{self as exchange, headers_to_json};

/// A small body of known length that comes within this time goes along with the head, in one event instead of three.
const TOGETHER: Duration = Duration::from_millis(5);

/// Sends a response on. `is_head` says that the request was a HEAD, whose response has no body; `what` names the response in the
/// words about one that breaks off.
pub(super) async fn answered<B>(response: Response<B>, what: &str, is_head: bool, answer: Answering, mut record: Record)
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let (status, mut headers) = (head.status, head.headers);
    let declared = headers.remove(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if is_head || exchange::is_without_content(status) {
        answer.ack(exchange::Response { status, headers, body: Bytes::new(), declared_length: declared });
        return record.complete();
    }
    let mut early = BytesMut::new();
    // An ack's body has a type, and what has none from the app has none outside.
    let is_small = declared.is_some_and(|length: u64| length <= MAX_INLINE as u64);
    if is_small && headers.contains_key(header::CONTENT_TYPE) {
        let whole = async {
            while let Some(frame) = body.frame().await {
                // There are no trailers behind a length.
                if let Ok(data) = frame?.into_data() {
                    early.extend_from_slice(&data);
                }
            }
            Ok::<(), B::Error>(())
        };
        match tokio::time::timeout(TOGETHER, whole).await {
            Ok(Ok(())) => {
                record.bytes(early.len());
                answer.ack(exchange::Response { status, headers, body: early.freeze(), declared_length: None });
                return record.complete();
            }
            Ok(Err(error)) => {
                let why = broke_off(what, &error);
                answer.abort(AbortCode::LocalGone, Some(&why));
                return record.fail(&why);
            }
            // The rest follows by and by.
            Err(_) => (),
        }
    }
    let mut writer = answer.head(status, headers, declared);
    let written = send_body(&mut writer, early.freeze(), &mut body, what, &mut record).await;
    match written {
        Ok(trailers) => match writer.end(trailers).await {
            Ok(()) => record.complete(),
            Err(gone) => record.fail(&gone.to_string()),
        },
        Err(why) => {
            writer.abort(AbortCode::LocalGone, Some(&why));
            record.fail(&why);
        }
    }
}

/// Sends the body of the response on. Returns its trailers as JSON.
async fn send_body<B>(
    writer: &mut BodyWriter,
    early: Bytes,
    body: &mut B,
    what: &str,
    record: &mut Record,
) -> Result<Option<ByteString>, String>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    record.bytes(early.len());
    writer.write(early).await.map_err(|gone| gone.to_string())?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broke_off(what, &error))?;
        match frame.into_data() {
            Ok(data) => {
                record.bytes(data.len());
                writer.write(data).await.map_err(|gone| gone.to_string())?;
            }
            Err(frame) => {
                let trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                return Ok(Some(headers_to_json(&trailers, None).into()));
            }
        }
    }
    Ok(None)
}

/// Returns why a response is not complete.
fn broke_off(what: &str, error: &(dyn Error + 'static)) -> String {
    format!("{what} broke off: {}", words(error))
}
