//! The stamp of a request between nodes: it says which request of its connection this is, and what its caller notes of it, and
//! proves both. Bytes in, bytes out.
//!
//! ```text
//! x-socket2me-hop: VERSION COUNTER MAC NOTE
//! ```
//!
//! The MAC covers the counter, the method, the target and the `Host` of the request, and the note, which is JSON. Its key is the
//! connection's, and the counter rises by one: no stamp is good for another request, on this connection or another.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::request::Parts;

use super::super::keys::{Key, MAC_BYTES};
use super::note::Note;
use super::words::HOP;

/// The use of the key.
const USAGE: &str = "request";

/// Why a request is refused whose stamp is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forged {
    /// There is none, or more than one.
    NotOne,
    /// It is not written as a stamp.
    Malformed,
    /// It is that of another request of the connection.
    Counter,
    /// The caller has not made it, or for another request.
    Mac,
    /// The note cannot be read, though the caller has written it.
    Note,
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOne => "it has no stamp or more than one",
            Self::Malformed => "its stamp is malformed",
            Self::Counter => "its stamp was used before, or one is missing",
            Self::Mac => "its stamp is not of this connection or not of this request",
            Self::Note => "what its stamp says cannot be read",
        })
    }
}

/// Makes stamps for the requests of one connection, or verifies them.
#[derive(Debug)]
pub(super) struct Stamps {
    key: Key,
    version: u32,
    /// How many requests were stamped or verified.
    counter: u64,
}

impl Stamps {
    /// Returns what stamps the requests of a connection with this key.
    pub(super) fn new(key: Key, version: u32) -> Self {
        Self { key, version, counter: 0 }
    }

    /// Returns the stamp of the next request, whose head is as it will be on the wire.
    ///
    /// # Errors
    /// When the note is no header: never, for those of [`Note`].
    pub(super) fn stamp(&mut self, head: &Parts, note: &Note) -> Result<HeaderValue, Forged> {
        let note = serde_json::to_string(note).map_err(|_| Forged::Note)?;
        self.counter += 1;
        let version = self.version.to_string();
        let mac = covered(&version, self.counter, head, &note, |parts| self.key.mac(USAGE, parts));
        let stamp = format!("{version} {} {} {note}", self.counter, URL_SAFE_NO_PAD.encode(mac));
        HeaderValue::from_bytes(stamp.as_bytes()).map_err(|_| Forged::Note)
    }

    /// Verifies the stamp of the next request, and takes it out of the head.
    ///
    /// # Errors
    /// With what is wrong. The connection is then good for no more requests.
    pub(super) fn verify(&mut self, head: &mut Parts) -> Result<Note, Forged> {
        let mut stamps = head.headers.get_all(HOP).iter();
        let (Some(stamp), None) = (stamps.next().cloned(), stamps.next()) else { return Err(Forged::NotOne) };
        let Stamp { version, counter, mac, note } = Stamp::read(stamp.as_bytes()).ok_or(Forged::Malformed)?;
        let expected = self.counter + 1;
        let is_genuine = covered(version, counter, head, note, |parts| self.key.verifies(USAGE, parts, &mac))
            && mac.len() == MAC_BYTES;
        if !is_genuine {
            return Err(Forged::Mac);
        }
        if counter != expected {
            return Err(Forged::Counter);
        }
        self.counter = expected;
        head.headers.remove(HOP);
        serde_json::from_str(note).map_err(|_| Forged::Note)
    }
}

/// Calls `mac` with what a stamp covers.
fn covered<T>(version: &str, counter: u64, head: &Parts, note: &str, mac: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (counter, target) = (counter.to_be_bytes(), head.uri.to_string());
    let mut parts =
        vec![version.as_bytes(), &counter, head.method.as_str().as_bytes(), target.as_bytes(), note.as_bytes()];
    parts.extend(head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes));
    mac(&parts)
}

/// A stamp as it is written.
struct Stamp<'s> {
    version: &'s str,
    counter: u64,
    mac: Vec<u8>,
    note: &'s str,
}

impl<'s> Stamp<'s> {
    fn read(stamp: &'s [u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(stamp).ok()?.splitn(4, ' ');
        let (version, counter, mac, note) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(version) || !is_number(counter) {
            return None;
        }
        Some(Self { version, counter: counter.parse().ok()?, mac: URL_SAFE_NO_PAD.decode(mac).ok()?, note })
    }
}
