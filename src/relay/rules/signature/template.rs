//! What is signed, as a text with placeholders.

use std::borrow::Cow;
use std::fmt;

use http::HeaderName;

use super::claim::{Claim, Time};
use super::fault::Fault;
use super::request::Signed;

/// The most bytes of a template that an owner gives: several times what those of known senders take.
const MAX_BYTES: usize = 256;

/// What is signed: parts, one behind the other. A template has the body exactly once and any other placeholder at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Cow<'static, str>),
    /// `{body}`: the exact bytes of the body.
    Body,
    /// `{ts}`: what this header says, which is a time in seconds since 1970.
    Timestamp(HeaderName),
    /// `{id}`: what this header says.
    Id(HeaderName),
    /// `{method}`: the method as it came, such as `POST`.
    Method,
    /// `{url}`: the full public URL.
    Url,
}

impl Template {
    /// Returns the template `{body}`.
    pub(super) fn body() -> Self {
        Self(vec![Part::Body])
    }

    /// Returns the template of Slack, `v0:{ts}:{body}`, whose time is in this header.
    pub(super) fn slack(timestamp: HeaderName) -> Self {
        let literal = |text| Part::Literal(Cow::Borrowed(text));
        Self(vec![literal("v0:"), Part::Timestamp(timestamp), literal(":"), Part::Body])
    }

    /// Reads a template, and which headers have the time and the id if it has them.
    ///
    /// # Errors
    /// Fails, with what to do instead, when the text is longer than 256 bytes, has a placeholder that is unknown or comes twice or a
    /// brace of none, lacks `{body}`, or does not have `{ts}` and `{id}` exactly when there are headers for them.
    pub(super) fn read(text: &str, timestamp: Option<HeaderName>, id: Option<HeaderName>) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("verify.template is longer than {MAX_BYTES} bytes: shorten it"));
        }
        let mut reading = Reading { parts: Vec::new(), timestamp, id };
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or_else(|| unknown(behind))?;
            reading.literal(literal)?;
            reading.placeholder(name)?;
            rest = behind;
        }
        reading.literal(rest)?;
        reading.finish()
    }

    /// Returns the header of `{ts}`.
    pub(super) fn timestamp(&self) -> Option<&HeaderName> {
        self.0.iter().find_map(|part| if let Part::Timestamp(header) = part { Some(header) } else { None })
    }

    /// Returns the header of `{id}`.
    pub(super) fn id(&self) -> Option<&HeaderName> {
        self.0.iter().find_map(|part| if let Part::Id(header) = part { Some(header) } else { None })
    }

    /// Tells whether it is certain where the id ends: beside another placeholder, bytes could move between the two.
    fn delimits_id(&self) -> bool {
        let is_literal = |part: Option<&Part>| part.is_none_or(|part| matches!(part, Part::Literal(_)));
        let at = self.0.iter().position(|part| matches!(part, Part::Id(_)));
        at.is_some_and(|at| {
            is_literal(at.checked_sub(1).and_then(|before| self.0.get(before))) && is_literal(self.0.get(at + 1))
        })
    }

    /// Writes into a claim what was signed.
    ///
    /// # Errors
    /// Fails when the header of a placeholder is missing, comes more than once, or has no time where one must be.
    pub(super) fn fill<'r>(&self, request: &Signed<'r>, claim: &mut Claim<'r>) -> Result<(), Fault> {
        let mut text = Vec::new();
        for part in &self.0 {
            text.push(match part {
                Part::Literal(literal) => Cow::Owned(literal.as_bytes().to_vec()),
                Part::Body => Cow::Borrowed(request.body),
                Part::Timestamp(header) => {
                    let seconds = request.header(header)?;
                    claim.time = Some(Time::read(header.clone(), seconds)?);
                    Cow::Borrowed(seconds.as_bytes())
                }
                Part::Id(header) => {
                    let id = request.header(header)?;
                    claim.id = Some(id).filter(|_| self.delimits_id());
                    Cow::Borrowed(id.as_bytes())
                }
                Part::Method => Cow::Borrowed(request.method.as_str().as_bytes()),
                Part::Url => Cow::Borrowed(request.url.as_bytes()),
            });
        }
        claim.texts.push(text);
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| {
            f.write_str(match part {
                Part::Literal(text) => text,
                Part::Body => "{body}",
                Part::Timestamp(_) => "{ts}",
                Part::Id(_) => "{id}",
                Part::Method => "{method}",
                Part::Url => "{url}",
            })
        })
    }
}

/// A template of which a part is read, and the headers that no placeholder has taken yet.
struct Reading {
    parts: Vec<Part>,
    timestamp: Option<HeaderName>,
    id: Option<HeaderName>,
}

impl Reading {
    fn literal(&mut self, text: &str) -> Result<(), String> {
        if text.contains('}') {
            return Err(unknown(text));
        }
        if !text.is_empty() {
            self.parts.push(Part::Literal(Cow::Owned(text.to_owned())));
        }
        Ok(())
    }

    fn placeholder(&mut self, name: &str) -> Result<(), String> {
        let has = |matches: fn(&Part) -> bool| self.parts.iter().any(matches);
        let (is_second, part) = match name {
            "body" => (has(|part| matches!(part, Part::Body)), Some(Part::Body)),
            "method" => (has(|part| matches!(part, Part::Method)), Some(Part::Method)),
            "url" => (has(|part| matches!(part, Part::Url)), Some(Part::Url)),
            "ts" => (has(|part| matches!(part, Part::Timestamp(_))), self.timestamp.take().map(Part::Timestamp)),
            "id" => (has(|part| matches!(part, Part::Id(_))), self.id.take().map(Part::Id)),
            _ => return Err(unknown(name)),
        };
        if is_second {
            return Err(format!("verify.template has {{{name}}} twice: keep one of them"));
        }
        let member = if name == "ts" { "timestamp" } else { "id" };
        self.parts.push(part.ok_or_else(|| {
            format!("verify.template has {{{name}}}: name the header that has it, as verify.{member}")
        })?);
        Ok(())
    }

    fn finish(self) -> Result<Template, String> {
        let unused = [(&self.timestamp, "timestamp", "ts"), (&self.id, "id", "id")];
        for (header, member, placeholder) in unused {
            if header.is_some() {
                return Err(format!(
                    "verify.{member} is not signed: put {{{placeholder}}} into verify.template, or remove verify.{member}"
                ));
            }
        }
        if !self.parts.contains(&Part::Body) {
            return Err("verify.template lacks {body}, so any body would pass: add it, as in {ts}.{body}".to_owned());
        }
        Ok(Template(self.parts))
    }
}

fn unknown(near: &str) -> String {
    let near: String = near.chars().take(16).collect();
    format!(
        "verify.template has a brace of no placeholder near `{near}`: write {{body}}, {{ts}}, {{id}}, {{method}} or {{url}}"
    )
}
