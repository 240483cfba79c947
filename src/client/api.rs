//! The calls of a tunnel's owner (PROTOCOL.md, section 10).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize, Serializer};

use super::requests::{RequestError, Requests};
use crate::config::Rule;
use crate::proto::key::Key;

/// The largest answer, in bytes: one tunnel.
const ANSWER: usize = 64 << 10;

/// How long an answer may take: longer than a server waits for its store.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings of a tunnel: those that are given count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Settings {
    /// Seconds that it lives without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Seconds that an end may take for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Seconds that a visitor waits for an end that has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// Which of several ends answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<&'static str>,
    /// Which requests are sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<&'static str>,
    /// What visitors' requests must be like.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_json")]
    pub rules: Option<Rule>,
}

fn as_json<S: Serializer>(rules: &Option<Rule>, serializer: S) -> Result<S::Ok, S::Error> {
    rules.as_ref().map(Rule::json).serialize(serializer)
}

/// A tunnel that is made, or that there was.
#[derive(Debug, Clone, Deserialize)]
pub struct Made {
    /// Its token.
    pub token: String,
    /// Its key, unless the tunnel was there already.
    pub key: Option<String>,
    /// Where visitors find it.
    pub url: String,
    /// The same by its path.
    pub path_url: String,
}

/// Why a call has failed.
#[derive(Debug)]
pub enum ApiError {
    /// There is no answer.
    Request(RequestError),
    /// The server refuses.
    Refused {
        /// The status.
        status: StatusCode,
        /// The code of PROTOCOL.md, section 5; empty where the answer is none of a relay.
        code: String,
        /// Words for a person.
        message: String,
    },
    /// The answer is none of a relay.
    Foreign(String),
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Refused { status, code, message } if code.is_empty() => {
                write!(f, "the server refuses: {status} {message}")
            }
            Self::Refused { message, .. } => write!(f, "the server refuses: {message}"),
            Self::Foreign(why) => write!(f, "the server is no Socket2Me: {why}"),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// The calls of one server.
#[derive(Debug)]
pub struct Api {
    requests: Requests,
    /// What a server wants that lets only some make tunnels.
    create_secret: Option<HeaderValue>,
}

impl Api {
    /// Prepares for calls. `create_secret` goes along with those that make a tunnel.
    #[must_use]
    pub fn new(requests: Requests, create_secret: Option<HeaderValue>) -> Self {
        Self { requests, create_secret }
    }

    /// Makes a tunnel, or finds the one of this name and key.
    ///
    /// # Errors
    /// With what has failed.
    pub async fn make(&mut self, name: Option<&str>, settings: &Settings, key: Option<&Key>) -> Result<Made, ApiError> {
        #[derive(Serialize)]
        struct Wanted<'w> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'w str>,
            #[serde(flatten)]
            settings: &'w Settings,
        }
        let answer = self.call(Method::POST, "/new", &Wanted { name, settings }, key).await?;
        serde_json::from_slice(answer.body())
            .map_err(|error| ApiError::Foreign(format!("its answer is not a tunnel: {error}")))
    }

    /// Sets what is given of the settings of a tunnel.
    ///
    /// # Errors
    /// With what has failed.
    pub async fn set(&mut self, token: &str, settings: &Settings, key: &Key) -> Result<(), ApiError> {
        self.call(Method::PATCH, &format!("/tunnel/{token}"), settings, Some(key)).await.map(drop)
    }

    /// Deletes a tunnel.
    ///
    /// # Errors
    /// With what has failed.
    pub async fn delete(&mut self, token: &str, key: &Key) -> Result<(), ApiError> {
        self.call(Method::DELETE, &format!("/tunnel/{token}"), &(), Some(key)).await.map(drop)
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        key: Option<&Key>,
    ) -> Result<Response<Bytes>, ApiError> {
        let has_body = method != Method::DELETE;
        let makes = method == Method::POST;
        let body = if has_body {
            serde_json::to_vec(body).map_err(|error| ApiError::Foreign(error.to_string()))?
        } else {
            Vec::new()
        };
        let mut request = self.requests.request(method, path, body.into())?;
        let headers = request.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(mut value) = key.and_then(|key| HeaderValue::try_from(format!("Bearer {}", key.as_str())).ok()) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if makes && let Some(secret) = &self.create_secret {
            headers.insert("x-socket2me-create", secret.clone());
        }
        let answer = self.requests.send(request, ANSWER, PATIENCE).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }
}

/// Reads an answer that is an error.
fn refused(answer: &Response<Bytes>) -> ApiError {
    #[derive(Deserialize)]
    struct Words {
        #[serde(rename = "Error")]
        error: String,
    }
    let code = answer.headers().get("x-socket2me-error").and_then(|code| code.to_str().ok()).unwrap_or_default();
    let message = match serde_json::from_slice::<Words>(answer.body()) {
        Ok(words) => words.error,
        Err(_) => String::from_utf8_lossy(answer.body()).chars().take(200).collect(),
    };
    ApiError::Refused { status: answer.status(), code: code.to_owned(), message: printable(&message) }
}

/// Returns a text of somebody else without characters that a terminal takes for commands, and without those that show the rest of
/// a line in another order or start another line (Unicode Standard Annex #9; U+2028 and U+2029).
#[must_use]
pub fn printable(text: &str) -> String {
    let is_command = |char: char| {
        char.is_control()
            || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if is_command(char) { '\u{fffd}' } else { char }).collect()
}
