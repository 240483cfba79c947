//! Why a rule refuses a request.

use std::fmt;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::signature::Fault;
use crate::relay::code::Code;

/// What a tunnel's rules have against a request, in the order in which they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::relay) enum Refusal {
    /// The rules cannot be read here: another server has written them, or with a key that this one has not.
    Unreadable,
    /// The visitor's address is denied, or not allowed.
    Address,
    /// The method is none of these.
    Method(Vec<Method>),
    /// No name with its password was shown. What is to be shown is the value of `WWW-Authenticate`.
    AuthRequired(HeaderValue),
    /// Wrong passwords came too often. It may be tried again after this time.
    WrongTooOften(Duration),
    /// More passwords are waited for than may be.
    Busy,
    /// The signature is not right.
    Signature(Fault),
    /// The delivery has succeeded before, or is on its way.
    Replayed,
    /// Too many requests have come. The next may come after this time.
    Rate(Duration),
}

impl Refusal {
    pub(in crate::relay) fn code(&self) -> Code {
        match self {
            Self::Unreadable => Code::RulesUnreadable,
            Self::Address => Code::AddressRefused,
            Self::Method(_) => Code::MethodRefused,
            Self::AuthRequired(_) => Code::AuthRequired,
            Self::WrongTooOften(_) => Code::AuthThrottled,
            Self::Busy => Code::Busy,
            Self::Signature(Fault::Missing(_)) => Code::SignatureMissing,
            Self::Signature(Fault::Wrong(..)) => Code::SignatureWrong,
            Self::Signature(Fault::Expired { .. }) => Code::SignatureExpired,
            Self::Replayed => Code::SignatureReplayed,
            Self::Rate(_) => Code::TunnelRate,
        }
    }

    pub(in crate::relay) fn status(&self) -> StatusCode {
        match self {
            Self::Unreadable | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Address => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::AuthRequired(_) | Self::Signature(_) | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::WrongTooOften(_) | Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Sets the headers that say what to do.
    pub(in crate::relay) fn set_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Method(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                let value = HeaderValue::try_from(names.join(", ")).expect("methods are tokens");
                headers.insert(header::ALLOW, value);
            }
            Self::AuthRequired(challenge) => {
                headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
            }
            Self::Signature(_) | Self::Replayed => {
                // RFC 9110, section 15.5.2: a 401 has one. There is no scheme for signatures of webhooks.
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
            }
            Self::WrongTooOften(left) | Self::Rate(left) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(*left)));
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Unreadable | Self::Address => (),
        }
    }
}

/// Returns a time in seconds, rounded up, as `Retry-After` has it.
pub(in crate::relay) fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str(
                "the server cannot read this tunnel's rules: its operator must give --secrets-key-file the key with which they \
                 were written, or its owner must set them again",
            ),
            Self::Address => f.write_str("this tunnel takes no requests from your address"),
            Self::Method(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                write!(f, "this tunnel takes no requests with this method: use {}", names.join(", "))
            }
            Self::AuthRequired(_) => f.write_str("this tunnel needs a name and a password: send them by HTTP Basic"),
            Self::WrongTooOften(_) => {
                f.write_str("too many wrong passwords have come from your address: try again in a minute")
            }
            Self::Busy => f.write_str("too many passwords are being checked, try again in a moment"),
            Self::Signature(fault) => fault.fmt(f),
            Self::Replayed => f.write_str("this delivery has come before: sign and send another"),
            Self::Rate(_) => f.write_str("too many requests have come through this tunnel, slow down"),
        }
    }
}
