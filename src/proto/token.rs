//! The name in the public URL.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Letters and digits in a token: base64 of the 36 characters of a UUID, which needs no padding.
pub const TOKEN_LENGTH: usize = 48;

/// A token: base64 of the text of a UUID v4, 48 letters and digits (`original.md`, "Routes").
///
/// It is the public URL and, without a key, the end's only credential: `Debug` shows its first characters alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token([u8; TOKEN_LENGTH]);

impl Token {
    /// The token of a UUID. The caller brings the randomness.
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut text);
        let mut token = [0; TOKEN_LENGTH];
        let length = STANDARD.encode_slice(text, &mut token);
        debug_assert_eq!(length, Ok(TOKEN_LENGTH));
        Self(token)
    }

    /// Reads a token, or `None` when the text cannot be one: to whoever asks, that is a token nobody has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; TOKEN_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }

    /// Reads the token from the namespace that its end joins, `/TOKEN`.
    #[must_use]
    pub fn from_namespace(namespace: &str) -> Option<Self> {
        Self::parse(namespace.strip_prefix('/')?)
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII only")
    }

    /// The namespace of its end: `/TOKEN`.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("/{}", self.as_str())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_base64_of_the_text_of_a_uuid() {
        let uuid = uuid::Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        let token = Token::from_uuid(uuid);
        assert_eq!(STANDARD.decode(token.as_str()).unwrap(), uuid.to_string().as_bytes());
        assert_eq!(Token::parse(token.as_str()), Some(token));
        assert_eq!(Token::from_namespace(&token.namespace()), Some(token));
    }

    #[test]
    fn refuses_what_cannot_be_one() {
        let long = "a".repeat(TOKEN_LENGTH + 1);
        let comma = format!("{},", "a".repeat(TOKEN_LENGTH - 1));
        for text in ["", "abc", &long, &comma, &"é".repeat(TOKEN_LENGTH / 2)] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_hides_most_of_it() {
        let token = Token::from_uuid(uuid::Uuid::from_u128(7));
        assert_eq!(format!("{token:?}").chars().count(), 9);
    }
}
