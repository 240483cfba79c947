//! One exchange with the local app.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answer::answered;
use super::connect::Connector;
use super::headers::{Names, Public};
use super::record::Record;
use super::target::App;
use super::upload::Upload;
use crate::causes::words;
use crate::client::visit::{BodyReader, BodyWriter, Up, Visit};
use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::{self as exchange, InlineBody};

/// How long a connection to the app is kept without a request. Node.js closes its side after 5 s, and a request that crosses that is
/// lost.
const IDLE: Duration = Duration::from_secs(4);

/// What one read from the app takes, in bytes: a response that nobody takes holds no more here.
const READ: usize = 64 << 10;

/// Forwards requests to one app.
pub(super) struct Forwarder {
    client: Client<Connector, Upload>,
    names: Names,
    app: String,
}

/// Why a request has no response: what the server is told, and the visitor.
struct Unanswered {
    code: AbortCode,
    message: String,
}

impl Forwarder {
    pub(super) fn new(app: App, is_local: bool, names: Names, tls: &Arc<rustls::ClientConfig>, hold: Duration) -> Self {
        let shown = super::target::Target::App(app.clone()).to_string();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ)
            .set_host(false)
            .build(Connector::new(app, is_local, tls, hold));
        Self { client, names, app: shown }
    }

    /// Serves one exchange.
    pub(super) async fn forward(&self, visit: Visit, mut record: Record) {
        let Visit { request, body, answer } = visit;
        let is_head = &*request.method == "HEAD";
        let is_upgrade = request.stream.is_some_and(|begin| begin.is_upgrade);
        let (request, public, rest) = match self.request(request, body) {
            Ok(made) => made,
            Err(Unanswered { code, message }) => {
                answer.abort(code, Some(&message));
                return record.fail(&message);
            }
        };
        let mut response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let Unanswered { code, message } = self.unanswered(&error);
                answer.abort(code, Some(&message));
                return record.fail(&message);
            }
        };
        let status = response.status();
        record.status(status.as_u16());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(reader) = rest.filter(|_| is_upgrade) else {
                let message = "the local app has switched protocols, which nobody asked for";
                answer.abort(AbortCode::LocalGone, Some(message));
                return record.fail(message);
            };
            let upgrade = hyper::upgrade::on(&mut response);
            self.names.leave(response.headers_mut(), &public);
            let (head, _) = response.into_parts();
            let writer = answer.head(status, head.headers, None);
            return connect_through(upgrade, reader, writer, record).await;
        }
        drop(rest);
        self.names.leave(response.headers_mut(), &public);
        answered(response, "the app's response", is_head, answer, record).await;
    }

    /// Makes the app's request of the visitor's. The reader of an upgrade comes back: it has no body.
    fn request(
        &self,
        request: exchange::Request,
        reader: BodyReader,
    ) -> Result<(Request<Upload>, Public, Option<BodyReader>), Unanswered> {
        let protocol = |message: &str| Unanswered { code: AbortCode::Protocol, message: message.to_owned() };
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| protocol("the method is none"))?;
        // Only the path is the visitor's. A target that is a whole URL would name another server.
        let mut headers = request.headers;
        let public = self.names.enter(&mut headers);
        let target = self.names.target(&public, &request.path, &request.search);
        let target =
            PathAndQuery::try_from(target).map_err(|_| protocol("the path has characters that no request can have"))?;
        let uri = Uri::builder().scheme("http").authority(&*self.names.authority).path_and_query(target).build();
        let uri = uri.map_err(|_| protocol("the path is none"))?;
        let begin = request.stream;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut rest = None;
        let body = match request.body {
            InlineBody::Streamed => {
                if length.is_none() {
                    // Without it, HTTP clients leave the body of a GET or a DELETE unframed, and one request becomes two.
                    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                Upload::Streamed { reader, left: length, is_over: false }
            }
            InlineBody::Bytes(bytes) => {
                rest = Some(reader);
                Upload::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            // An end that streams gets bytes alone.
            InlineBody::Text(_) | InlineBody::Json(_) => {
                return Err(protocol("the server sends a body that is no bytes"));
            }
        };
        if begin.is_some_and(|begin| begin.is_upgrade) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let mut made = Request::new(body);
        *made.method_mut() = method;
        *made.uri_mut() = uri;
        *made.version_mut() = Version::HTTP_11;
        *made.headers_mut() = headers;
        Ok((made, public, rest))
    }

    /// Returns what is said of a request that the app has not answered.
    fn unanswered(&self, error: &hyper_util::client::legacy::Error) -> Unanswered {
        if error.is_connect() {
            let message = format!("nothing answers at {}: {}", self.app, words(error));
            return Unanswered { code: AbortCode::LocalRefused, message };
        }
        let message = format!("the app at {} did not answer: {}", self.app, words(error));
        Unanswered { code: AbortCode::LocalGone, message }
    }
}

/// Passes bytes on in both directions behind a 101, until both have ended.
async fn connect_through(upgrade: OnUpgrade, mut reader: BodyReader, mut writer: BodyWriter, mut record: Record) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            writer.abort(AbortCode::LocalGone, None);
            return record.fail(&words(&error));
        }
    };
    let (mut from_app, mut to_app) = tokio::io::split(upgraded);
    let up = async {
        while let Some(Up::Data(bytes)) = reader.next().await {
            if to_app.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The app learns that the visitor says nothing more.
        let _ = to_app.shutdown().await;
    };
    let down = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ);
            match from_app.read_buf(&mut buffer).await {
                Ok(0) => break writer.end(None).await.map_err(|gone| gone.to_string()),
                Ok(count) => {
                    record.bytes(count);
                    if let Err(gone) = writer.write(buffer.split().freeze()).await {
                        break Err(gone.to_string());
                    }
                }
                Err(error) => {
                    writer.abort(AbortCode::LocalGone, None);
                    break Err(error.to_string());
                }
            }
        }
    };
    let ((), down) = tokio::join!(up, down);
    match down {
        Ok(()) => record.complete(),
        Err(why) => record.fail(&why),
    }
}
