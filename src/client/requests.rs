//! Requests to the relay, one after the other on a connection that stays open.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::time::Duration;

use super::dial::{DialError, Dialer};
use super::server_url::ServerUrl;
use crate::causes::words;

/// How this program names itself.
pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("socket2me/", env!("CARGO_PKG_VERSION")));

/// Requests to one server.
#[derive(Debug)]
pub struct Requests {
    dialer: Dialer,
    url: ServerUrl,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a request has no response.
#[derive(Debug)]
pub enum RequestError {
    /// There is no connection.
    Dial(DialError),
    /// The connection has failed, or the server does not speak HTTP.
    Failed(String),
    /// The response has more bytes than this.
    TooLarge(usize),
    /// No response came in time.
    TimedOut,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Failed(why) => write!(f, "the server's answer is none: {why}"),
            Self::TooLarge(limit) => write!(f, "the server's answer has more than {limit} bytes"),
            Self::TimedOut => f.write_str("the server does not answer in time"),
        }
    }
}

impl Requests {
    /// Prepares for requests. The first opens the connection.
    #[must_use]
    pub fn new(dialer: Dialer, url: ServerUrl) -> Self {
        Self { dialer, url, connection: None }
    }

    /// Returns a request for a path of the server.
    ///
    /// # Errors
    /// When the path has characters that no target can have.
    pub fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, RequestError> {
        let request = Request::builder()
            .method(method)
            .uri(self.url.target(path))
            .header(header::HOST, self.url.authority())
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body));
        request.map_err(|error| RequestError::Failed(error.to_string()))
    }

    /// Sends a request, and returns the response with a body of at most `limit` bytes.
    ///
    /// # Errors
    /// With what has failed. The connection is not used again then.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
        patience: Duration,
    ) -> Result<Response<Bytes>, RequestError> {
        let answer = async {
            let response = self.answered(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    RequestError::TooLarge(limit)
                } else {
                    RequestError::Failed(words(&*error))
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = tokio::time::timeout(patience, answer).await.unwrap_or(Err(RequestError::TimedOut));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Sends a request on the connection that is open, or on a new one if the server has closed that.
    async fn answered(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, RequestError> {
        if let Some(connection) = &mut self.connection
            && connection.ready().await.is_ok()
        {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(RequestError::Failed(words(error.error()))),
                },
            }
        }
        let connection = self.connection.insert(connect(&self.dialer, &self.url).await?);
        connection.send_request(request).await.map_err(|error| RequestError::Failed(words(&error)))
    }
}

/// Opens a connection for requests. A task of its own drives it, and ends once the sender is dropped.
pub(super) async fn connect(dialer: &Dialer, url: &ServerUrl) -> Result<SendRequest<Full<Bytes>>, RequestError> {
    let stream = dialer.dial(url).await.map_err(RequestError::Dial)?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| RequestError::Failed(words(&error)))?;
    tokio::spawn(async move {
        // The sender hears of a failure.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
