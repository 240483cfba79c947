//! The name in the public URL.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The length of a token in bytes: base64 of the 36 characters of a UUID, which needs no padding.
pub const TOKEN_LENGTH: usize = 48;

/// The longest text that a token has room for, in bytes: the length of a label in a host name (RFC 1035, section
/// 2.3.4). Only UUIDs are taken today.
const MAX_LENGTH: usize = 63;

/// A token: base64 of the text of a UUID v4, 48 letters and digits (PROTOCOL.md, "HTTP routes").
///
/// A token is the public URL and, without a key, the end's only credential: `Debug` shows its first eight characters
/// alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The text, ASCII, and zeros behind it: tokens compare as their texts do.
    text: [u8; MAX_LENGTH],
    /// The length of the text, in bytes.
    length: u8,
}

impl Token {
    /// Returns the token of a UUID. The caller brings the randomness.
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        let mut hyphenated = [0; uuid::fmt::Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut hyphenated);
        let mut text = [0; TOKEN_LENGTH];
        let length = STANDARD.encode_slice(hyphenated, &mut text);
        debug_assert_eq!(length, Ok(TOKEN_LENGTH));
        Self::of(&text)
    }

    /// Reads a token. `None` is a text that no token can have; peers are told the same as of a token that does not
    /// exist.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == TOKEN_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_one.then(|| Self::of(text.as_bytes()))
    }

    /// Reads the token from the namespace that its end joins, `/TOKEN`.
    #[must_use]
    pub fn from_namespace(namespace: &str) -> Option<Self> {
        Self::parse(namespace.strip_prefix('/')?)
    }

    /// Returns the token of an ASCII text of at most 63 bytes, none of them zero.
    fn of(ascii: &[u8]) -> Self {
        let mut text = [0; MAX_LENGTH];
        text[..ascii.len()].copy_from_slice(ascii);
        Self { text, length: u8::try_from(ascii.len()).expect("63 bytes at the most") }
    }

    /// Returns the token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).expect("both constructors admit ASCII only")
    }

    /// Returns the namespace of the token's end: `/TOKEN`.
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
    fn tokens_compare_as_their_texts() {
        let longest = "b".repeat(MAX_LENGTH);
        let sorted = ["a", "ab", "ab0", "b0", &longest];
        let tokens = sorted.map(|text| Token::of(text.as_bytes()));
        assert!(tokens.is_sorted() && tokens[0] != tokens[1]);
        assert_eq!(tokens.each_ref().map(Token::as_str), sorted);
    }

    #[test]
    fn debug_hides_most_of_it() {
        let token = Token::from_uuid(uuid::Uuid::from_u128(7));
        assert_eq!(format!("{token:?}").chars().count(), 9);
    }
}
