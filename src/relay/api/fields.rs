//! The bodies of requests, as JSON.

use http::header::{self, HeaderMap};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};

use crate::relay::failure::Failure;
use crate::relay::rules::RulesPatch;
use crate::store::{Ends, Repeat};

/// `POST /new`, and `PATCH /tunnel/TOKEN`, which takes no name. Times are in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) name: Option<String>,
    pub(super) ttl: Option<u64>,
    pub(super) timeout: Option<u64>,
    pub(super) hold: Option<u64>,
    pub(super) ends: Option<Ends>,
    pub(super) repeat: Option<Repeat>,
    /// `null` removes all of them.
    #[serde(default, deserialize_with = "object")]
    pub(super) rules: Option<Option<RulesPatch>>,
}

/// `POST /tunnel/TOKEN/key`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rekeying {
    pub(super) key: String,
    #[serde(default = "yes")]
    pub(super) disconnect: bool,
}

/// Reads an object, or `null`, which is not the same as its absence. A list would be read as the members of a struct.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    let members = Option::<serde_json::Map<_, _>>::deserialize(deserializer)?;
    members.map(|members| serde_json::from_value(members.into()).map_err(D::Error::custom)).transpose().map(Some)
}

fn yes() -> bool {
    true
}

/// Checks that a request says its body is JSON. A page can send anything else by a form, to a server that its visitor reaches and
/// the page's author does not.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Failure::NotJson) }
}

/// Reads a body. An absent one asks for nothing in particular.
pub(super) fn parse<F: DeserializeOwned>(body: &[u8]) -> Result<F, Failure> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Failure::InvalidRequest(format!("the body is not as it must be: {error}")))
}
