//! Why a request is refused.

use std::fmt;
use std::time::Duration;

use http::HeaderName;

/// What is wrong with a request's signature. The text is for the sender; it names headers and never a secret, nor the signature
/// that would have been right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::relay) enum Fault {
    /// The request lacks this header.
    Missing(HeaderName),
    /// What this header says is not right, for this reason.
    Wrong(HeaderName, Wrong),
    /// The signature is right, but the time that it covers, in this header, is too far from the server's.
    Expired {
        /// The header with the time.
        header: HeaderName,
        /// The time between now and the signed one that is allowed, in both directions.
        tolerance: Duration,
        /// Whether the signed time is ahead of the server's.
        is_ahead: bool,
    },
}

/// Why a signature is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Wrong {
    /// The header comes several times, so that the end could read another one than was checked.
    Repeated,
    /// The header is not of the form that the preset has.
    Malformed,
    /// The header has no time in seconds since 1970.
    NoTime,
    /// No secret makes this signature of this request.
    Mismatch,
    /// The request has a body that the signature does not cover.
    BodyNotSigned,
    /// The body has more fields than this number.
    TooManyFields(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(header) => write!(
                f,
                "the header {header} is missing, and this tunnel takes no request without it: set the tunnel's secret at the sender"
            ),
            Self::Wrong(header, wrong) => wrong.describe(header, f),
            Self::Expired { header, tolerance, is_ahead } => {
                let direction = if *is_ahead { "ahead of" } else { "behind" };
                let seconds = tolerance.as_secs();
                write!(
                    f,
                    "the time in {header} is more than {seconds} s {direction} the server's: sign and send the request again, \
                     and check the clocks if it was signed just now"
                )
            }
        }
    }
}

impl Wrong {
    fn describe(self, header: &HeaderName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated => write!(f, "the header {header} comes more than once: send it once"),
            Self::Malformed => {
                write!(
                    f,
                    "the header {header} is not of the form that this tunnel expects: check which preset the tunnel has"
                )
            }
            Self::NoTime => write!(f, "the header {header} has no time in whole seconds since 1970: send one"),
            Self::Mismatch => write!(
                f,
                "what the header {header} says does not fit this request: check that sender and tunnel have the same secret, and \
                 that nothing on the way changes the body or the URL"
            ),
            Self::BodyNotSigned => write!(
                f,
                "the signature in {header} does not cover the body: send a form, or the body's SHA-256 as bodySHA256 in the URL"
            ),
            Self::TooManyFields(most) => {
                write!(f, "the body that {header} signs has too many fields: send {most} at most")
            }
        }
    }
}
