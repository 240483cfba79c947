//! The request whose signature is checked.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::fault::{Fault, Wrong};

/// A request as its sender signed it.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct Signed<'r> {
    /// The method.
    pub(in crate::relay) method: &'r Method,
    /// The full URL that the sender asked for, with the query and as it was written: `https://relay.example/go/TOKEN/hook?a=%20`.
    pub(in crate::relay) url: &'r str,
    /// The headers.
    pub(in crate::relay) headers: &'r HeaderMap,
    /// The exact bytes of the body, compressed if they came so.
    pub(in crate::relay) body: &'r [u8],
}

impl<'r> Signed<'r> {
    /// Returns the value of a header that has one.
    ///
    /// # Errors
    /// Fails when the header is missing, comes more than once, or has other characters than those of ASCII.
    pub(super) fn header(&self, name: &HeaderName) -> Result<&'r str, Fault> {
        match self.lines(name)?[..] {
            [value] => Ok(value),
            _ => Err(Fault::Wrong(name.clone(), Wrong::Repeated)),
        }
    }

    /// Returns the value of a header that goes by two names. Both may come, for some senders write both: with one value.
    ///
    /// # Errors
    /// Fails as [`Self::header`] does, and when the two differ: an end would perhaps read the other one.
    pub(super) fn header_of_two(&self, names: [&HeaderName; 2]) -> Result<(HeaderName, &'r str), Fault> {
        let [first, second] = names;
        if !self.headers.contains_key(second) {
            return Ok((first.clone(), self.header(first)?));
        }
        let value = self.header(second)?;
        if self.headers.contains_key(first) && self.header(first)? != value {
            return Err(Fault::Wrong(first.clone(), Wrong::Repeated));
        }
        Ok((second.clone(), value))
    }

    /// Returns the values of a header that is a list, and may be cut into lines anywhere between its items.
    ///
    /// # Errors
    /// Fails when the header is missing or has other characters than those of ASCII.
    pub(super) fn lines(&self, name: &HeaderName) -> Result<Vec<&'r str>, Fault> {
        let lines: Vec<&HeaderValue> = self.headers.get_all(name).iter().collect();
        if lines.is_empty() {
            return Err(Fault::Missing(name.clone()));
        }
        let texts: Result<_, _> = lines.into_iter().map(HeaderValue::to_str).collect();
        texts.map_err(|_| Fault::Wrong(name.clone(), Wrong::Malformed))
    }
}
