//! The id of an exchange.

use std::fmt;

use http::HeaderValue;

/// The id of an exchange, as `X-Request-Id`, the log and the events of a stream have it: a number of the server's process, and
/// the exchange's own. No other exchange has it, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId {
    /// The number of the process, drawn at its start.
    pub process: u32,
    /// The number of the exchange in its process.
    pub number: u64,
}

impl ExchangeId {
    /// Reads what [`fmt::Display`] writes. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (process, number) = text.split_once('-')?;
        let id = Self { process: process.parse().ok()?, number: number.parse().ok()? };
        // `+1` and `01` are numbers too.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.number)
    }
}

impl From<ExchangeId> for HeaderValue {
    fn from(ExchangeId { process, number }: ExchangeId) -> Self {
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        let text = [first.format(process), "-", second.format(number)].concat();
        Self::try_from(text).unwrap_or(Self::from_static("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written_and_not_otherwise() {
        for id in [ExchangeId { process: 0, number: 0 }, ExchangeId { process: u32::MAX, number: u64::MAX }] {
            assert_eq!(ExchangeId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "-", "1", "1-", "-1", "+1-2", "1-02", "1-2-3", "4294967296-1", " 1-2"] {
            assert_eq!(ExchangeId::parse(text), None, "{text}");
        }
    }
}
