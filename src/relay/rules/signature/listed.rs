//! Stripe and Standard Webhooks: the header lists several signatures of several versions. Version 1 alone counts: a list may have
//! weaker ones beside it, which a sender offers for tests or for old receivers.

use std::borrow::Cow;

use http::HeaderName;

use super::claim::{Claim, Digest, Text, Time};
use super::fault::{Fault, Wrong};
use super::recipe::Encoding;
use super::request::Signed;

const STRIPE: HeaderName = HeaderName::from_static("stripe-signature");

/// The headers of Standard Webhooks, and their names before the standard.
const SIGNATURE: [HeaderName; 2] =
    [HeaderName::from_static("webhook-signature"), HeaderName::from_static("svix-signature")];
const ID: [HeaderName; 2] = [HeaderName::from_static("webhook-id"), HeaderName::from_static("svix-id")];
const TIMESTAMP: [HeaderName; 2] =
    [HeaderName::from_static("webhook-timestamp"), HeaderName::from_static("svix-timestamp")];

/// Returns what a request of Stripe claims: `t=TIME,v1=HEX,v1=HEX,v0=HEX` over `TIME.BODY`
/// (<https://docs.stripe.com/webhooks#verify-manually>).
///
/// # Errors
/// Fails when the header is missing, lacks a time or has several, or has no signature of version 1.
pub(super) fn stripe<'r>(request: &Signed<'r>) -> Result<Claim<'r>, Fault> {
    let lines = request.lines(&STRIPE)?;
    let items = lines.iter().flat_map(|line| line.split(',')).filter_map(|item| item.trim().split_once('='));
    let of = |wanted: &'static str| items.clone().filter(move |(name, _)| *name == wanted).map(|(_, value)| value);
    let times: Vec<&str> = of("t").collect();
    let [seconds] = times[..] else { return Err(Fault::Wrong(STRIPE, Wrong::Malformed)) };
    Ok(Claim {
        header: STRIPE,
        digest: Digest::Sha256,
        signatures: decoded(STRIPE, Encoding::Hex, of("v1"))?,
        texts: vec![joined(&[seconds], request.body)],
        time: Some(Time::read(STRIPE, seconds)?),
        id: None,
    })
}

/// Returns what a request of Standard Webhooks claims: `v1,BASE64 v1,BASE64` over `ID.TIME.BODY`
/// (<https://www.standardwebhooks.com>).
///
/// # Errors
/// Fails when a header is missing, comes more than once with the exception of the signatures, or differs from the header of the
/// other name; when the time is none; and when there is no signature of version 1.
pub(super) fn standard<'r>(request: &Signed<'r>) -> Result<Claim<'r>, Fault> {
    let [current, former] = &SIGNATURE;
    let header =
        if request.headers.contains_key(former) && !request.headers.contains_key(current) { former } else { current };
    let lines = request.lines(header)?;
    let items = lines.iter().flat_map(|line| line.split(' '));
    let signatures = decoded(header.clone(), Encoding::Base64, items.filter_map(|item| item.strip_prefix("v1,")))?;
    let (_, id) = request.header_of_two(ID.each_ref())?;
    let (at, seconds) = request.header_of_two(TIMESTAMP.each_ref())?;
    Ok(Claim {
        header: header.clone(),
        digest: Digest::Sha256,
        signatures,
        texts: vec![joined(&[id, seconds], request.body)],
        time: Some(Time::read(at, seconds)?),
        id: Some(id),
    })
}

/// Returns the signatures that can be decoded: one that cannot is none, and takes nothing from the others.
///
/// # Errors
/// Fails when there are none.
fn decoded<'t>(
    header: HeaderName,
    encoding: Encoding,
    texts: impl Iterator<Item = &'t str>,
) -> Result<Vec<Vec<u8>>, Fault> {
    let signatures: Vec<_> = texts.filter_map(|text| encoding.decode(text)).collect();
    if signatures.is_empty() { Err(Fault::Wrong(header, Wrong::Malformed)) } else { Ok(signatures) }
}

/// Returns the texts, each with a full stop behind it, and the body.
fn joined<'r>(texts: &[&'r str], body: &'r [u8]) -> Text<'r> {
    let with_stop = |text: &&'r str| [Cow::Borrowed(text.as_bytes()), Cow::Borrowed(&b"."[..])];
    texts.iter().flat_map(with_stop).chain([Cow::Borrowed(body)]).collect()
}
