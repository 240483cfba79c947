//! Twilio, which signs the URL and the fields of a form, or the URL alone, where the URL has the SHA-256 of the body
//! (<https://www.twilio.com/docs/usage/security#validating-requests>).
//!
//! The names and values of fields are signed without anything between them, so `a=bc` and `ab=c` have one signature. That is how
//! Twilio does it; a check here can be no stricter.

use std::borrow::Cow;

use http::{HeaderName, header};
use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};

use super::claim::{Claim, Digest, Text};
use super::fault::{Fault, Wrong};
use super::recipe::Encoding;
use super::request::Signed;

const HEADER: HeaderName = HeaderName::from_static("x-twilio-signature");

/// The member of the query with the SHA-256 of a body that is no form.
const BODY_DIGEST: &str = "bodySHA256";

/// The most fields of a form; beyond, the request is refused before they are sorted. Twilio sends fewer than 100.
const MAX_FIELDS: usize = 1_000;

/// Returns what a request of Twilio claims. The URL counts with and without its port, for Twilio signs either.
///
/// # Errors
/// Fails when the header is missing, comes more than once or is no base64; and when the signature would not cover the body.
pub(super) fn claim<'r>(request: &Signed<'r>) -> Result<Claim<'r>, Fault> {
    let signature = Encoding::Base64.decode(request.header(&HEADER)?);
    let signature = signature.ok_or(Fault::Wrong(HEADER, Wrong::Malformed))?;
    let fields = signed_fields(request).map_err(|wrong| Fault::Wrong(HEADER, wrong))?;
    let texts = urls(request.url).into_iter().map(|mut text| {
        text.push(Cow::Owned(fields.clone()));
        text
    });
    Ok(Claim {
        header: HEADER,
        digest: Digest::Sha1,
        signatures: vec![signature],
        texts: texts.collect(),
        time: None,
        id: None,
    })
}

/// Returns what is signed behind the URL: nothing if the URL covers the body.
fn signed_fields(request: &Signed<'_>) -> Result<Vec<u8>, Wrong> {
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let members = form_urlencoded::parse(query.as_bytes());
    let digests: Vec<_> = members.filter(|(name, _)| name == BODY_DIGEST).map(|(_, digest)| digest).collect();
    match &digests[..] {
        [] if request.body.is_empty() => Ok(Vec::new()),
        [] if is_form(request) => sorted_fields(request.body),
        [] => Err(Wrong::BodyNotSigned),
        [digest] if Encoding::Hex.decode(digest).as_deref() == Some(&Sha256::digest(request.body)[..]) => {
            Ok(Vec::new())
        }
        _ => Err(Wrong::Mismatch),
    }
}

/// Tells whether the body is a form by its only `Content-Type`.
fn is_form(request: &Signed<'_>) -> bool {
    let essence = request.header(&header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Returns the names and values of a form in the order of the bytes, without repetitions.
fn sorted_fields(body: &[u8]) -> Result<Vec<u8>, Wrong> {
    let fields = body.split(|&byte| byte == b'&').filter(|field| !field.is_empty());
    if fields.clone().count() > MAX_FIELDS {
        return Err(Wrong::TooManyFields(MAX_FIELDS));
    }
    let mut fields: Vec<_> = fields
        .map(|field| {
            let mut sides = field.splitn(2, |&byte| byte == b'=').map(decoded);
            (sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
        })
        .collect();
    fields.sort_unstable();
    fields.dedup();
    Ok(fields.into_iter().flat_map(|(name, value)| [name, value]).flatten().collect())
}

/// Returns the bytes of a name or a value of a form.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect()
}

/// Returns the URL without a port, and with its own or else with that of its scheme.
fn urls(url: &str) -> [Text<'_>; 2] {
    let (scheme, _) = url.split_once("://").unwrap_or_default();
    let start = if scheme.is_empty() { 0 } else { scheme.len() + "://".len() };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    // The colons of an IPv6 address stand before its bracket.
    let host_end = url[start..end].rfind(']').map_or(start, |at| start + at);
    let port_start = url[host_end..end].rfind(':').map_or(end, |at| host_end + at);
    let (before, port, behind) = (&url[..port_start], &url[port_start..end], &url[end..]);
    let port = match port {
        "" | ":" if scheme.eq_ignore_ascii_case("http") => ":80",
        "" | ":" => ":443",
        port => port,
    };
    let text =
        |parts: &[&'_ str]| -> Text<'_> { parts.iter().map(|part| Cow::Owned(part.as_bytes().to_vec())).collect() };
    [text(&[before, behind]), text(&[before, port, behind])]
}
