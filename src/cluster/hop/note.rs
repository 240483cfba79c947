//! What a node says of a request that it hands on, beside the request itself.

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use serde::{Deserialize, Serialize};

use super::words::HOP;
use crate::net::arrival::Arrival;
use crate::proto::headers::{text_to_value, value_to_text};

/// Headers that say how two neighbours talk. The hop has its own; a visitor's travel in [`Note`].
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

/// What a node says of a request that it hands on. A field that is absent has its default, and an unknown one is read over: nodes of
/// two versions understand each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Note {
    /// What the request is: a word that both nodes know.
    pub(crate) kind: Box<str>,
    /// The id of the exchange, made where the visitor arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Box<str>>,
    /// The peer of the connection on which the request arrived at the first node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<SocketAddr>,
    /// That connection is TLS.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) tls: bool,
    /// The version of HTTP that it speaks.
    #[serde(skip_serializing_if = "Http::is_usual")]
    http: Http,
    /// Headers that are not on the wire between the nodes, in the order of their places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    own: Vec<Own>,
}

/// A header that is not on the wire: its place among all headers of the request, its name, and its value, each byte as the character
/// of Latin-1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Own(usize, Box<str>, Box<str>);

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Http {
    #[serde(rename = "1.0")]
    Http10,
    #[serde(rename = "2")]
    Http2,
    /// Also a version that is unknown here.
    #[default]
    #[serde(rename = "1.1", other)]
    Http11,
}

impl Http {
    fn is_usual(&self) -> bool {
        *self == Self::Http11
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A header of a request cannot be what the note says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoHeader;

impl Note {
    /// Returns the note of a request of this kind.
    pub(crate) fn of(kind: &str) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// Makes this the note of the exchange with this id.
    pub(crate) fn with_id(self, id: impl Into<Box<str>>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Notes how a visitor's request arrived, and the headers that do not go on the wire.
    pub(super) fn on(mut self, head: &Parts, arrival: &Arrival<'_>) -> Self {
        self.peer = Some(arrival.peer.address);
        self.tls = arrival.peer.is_tls();
        self.http = match head.version {
            Version::HTTP_09 | Version::HTTP_10 => Http::Http10,
            Version::HTTP_2 => Http::Http2,
            _ => Http::Http11,
        };
        let own = headers_of(head).enumerate().filter(|(_, (name, _))| HOP_BY_HOP.contains(name));
        self.own = own.map(|(at, (name, value))| Own(at, name.as_str().into(), value_to_text(value).into())).collect();
        self
    }

    /// Makes a request that came over the hop what it was when it arrived at the first node.
    ///
    /// # Errors
    /// With [`NoHeader`] if the note has a header that cannot be one.
    pub(super) fn restore(&self, head: &mut Parts) -> Result<(), NoHeader> {
        head.version = match self.http {
            Http::Http10 => Version::HTTP_10,
            Http::Http11 => Version::HTTP_11,
            Http::Http2 => Version::HTTP_2,
        };
        let mut headers = HeaderMap::with_capacity(head.headers.len() + self.own.len());
        let (mut place, mut own) = (0, self.own.iter().peekable());
        for (name, value) in on_the_wire(head) {
            while let Some(Own(_, name, value)) = own.next_if(|Own(at, ..)| *at <= place) {
                append(&mut headers, name, value)?;
                place += 1;
            }
            headers.append(name, value.clone());
            place += 1;
        }
        own.try_for_each(|Own(_, name, value)| append(&mut headers, name, value))?;
        head.headers = headers;
        Ok(())
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), NoHeader> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| NoHeader)?;
    headers.append(name, text_to_value(value).ok_or(NoHeader)?);
    Ok(())
}

/// Returns the headers of a request, without a stamp: the hop's, or what a visitor calls so.
fn headers_of(head: &Parts) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    head.headers.iter().filter(|(name, _)| *name != HOP)
}

/// Returns those of the headers that are on the wire between nodes as they are.
pub(super) fn on_the_wire(head: &Parts) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers_of(head).filter(|(name, _)| !HOP_BY_HOP.contains(name))
}

/// Returns an empty request of a node itself.
pub(super) fn own_request(method: Method, path: &str) -> Parts {
    let mut head = http::Request::new(()).into_parts().0;
    // What tokens are made of, paths are made of.
    (head.method, head.uri) = (method, path.parse().unwrap_or_default());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::arrival::Peer;

    fn head(lines: &[(&'static str, &'static [u8])]) -> Parts {
        let mut head = own_request(Method::GET, "/");
        for (name, value) in lines {
            head.headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        head
    }

    fn noted(head: &Parts) -> Note {
        let peer = Peer::new(([192, 0, 2, 1], 5).into());
        Note::of("visit").on(head, &Arrival::new(&head.headers, &peer, &[]))
    }

    fn lines(head: &Parts) -> Vec<(String, Vec<u8>)> {
        head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_request_is_what_it_was_in_the_order_it_had() {
        for sent in [
            head(&[]),
            head(&[("host", b"a"), ("accept", b"*/*")]),
            head(&[("connection", b"keep-alive, x-a"), ("x-a", b"1"), ("host", b"a"), ("te", b"trailers")]),
            head(&[("host", b"a"), ("content-length", b"0"), ("x", b"1"), ("x", b"2"), ("expect", b"100-continue")]),
            head(&[("transfer-encoding", b"chunked"), ("host", b"a"), ("trailer", b"a"), ("trailer", b"b\xe9\t\"")]),
        ] {
            let note = noted(&sent);
            let note = serde_json::from_str::<Note>(&serde_json::to_string(&note).unwrap()).unwrap();
            let mut arrived = head(&[]);
            for (name, value) in on_the_wire(&sent) {
                arrived.headers.append(name, value.clone());
            }
            for (name, value) in [("te", "trailers"), ("connection", "te"), ("transfer-encoding", "chunked")] {
                arrived.headers.insert(name, HeaderValue::from_static(value));
            }
            note.restore(&mut arrived).unwrap();
            assert_eq!(lines(&arrived), lines(&sent));
        }
    }

    #[test]
    fn a_visitors_own_stamp_goes_nowhere() {
        let sent = head(&[("x-socket2me-hop", b"1 1 x {}"), ("te", b"x"), ("host", b"a"), ("upgrade", b"y")]);
        let note = noted(&sent);
        let mut arrived = head(&[("host", b"a")]);
        note.restore(&mut arrived).unwrap();
        assert_eq!(
            lines(&arrived).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["te", "host", "upgrade"]
        );
    }

    #[test]
    fn a_note_of_another_version_is_understood() {
        let text = r#"{"kind":"visit","later":[1],"peer":"[2001:db8::1]:7","http":"3","own":[[7,"te","x"]]}"#;
        let note: Note = serde_json::from_str(text).unwrap();
        assert_eq!((&*note.kind, note.id.as_deref(), note.tls, note.http), ("visit", None, false, Http::Http11));
        assert_eq!(note.peer, Some("[2001:db8::1]:7".parse().unwrap()));
        assert_eq!(serde_json::to_string(&Note::of("ping")).unwrap(), r#"{"kind":"ping"}"#);
    }

    #[test]
    fn the_version_that_the_visitor_speaks_is_told() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let mut sent = head(&[]);
            sent.version = version;
            let mut arrived = head(&[]);
            noted(&sent).restore(&mut arrived).unwrap();
            assert_eq!(arrived.version, version);
        }
    }

    #[test]
    fn a_note_whose_headers_are_none_is_refused() {
        for own in [r#"[0,"a b","x"]"#, r#"[0,"a","x\n"]"#, r#"[0,"a","\u0100"]"#] {
            let note: Note = serde_json::from_str(&format!(r#"{{"own":[{own}]}}"#)).unwrap();
            assert_eq!(note.restore(&mut head(&[])), Err(NoHeader), "{own}");
        }
    }
}
