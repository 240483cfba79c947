//! The name in the public URL.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The length of a token in bytes: base64 of the 36 characters of a UUID, which needs no padding.
pub const TOKEN_LENGTH: usize = 48;

/// The shortest name, in bytes: shorter ones are too few to hand out.
const MIN_NAME: usize = 3;

/// The longest name, in bytes: the length of a label in a host name (RFC 1035, section 2.3.4).
const MAX_LENGTH: usize = 63;

/// The length of a UUID with its hyphens, in bytes.
const HYPHENATED: usize = uuid::fmt::Hyphenated::LENGTH;

/// Names that nobody may choose, because visitors would take them for the server's own or because hosts of that name have a
/// meaning (RFC 2142, RFC 6761 and usage).
pub const RESERVED: [&str; 31] = [
    "abuse",
    "account",
    "admin",
    "administrator",
    "api",
    "app",
    "auth",
    "autoconfig",
    "autodiscover",
    "cdn",
    "console",
    "dashboard",
    "dev",
    "docs",
    "ftp",
    "help",
    "hostmaster",
    "imap",
    "localhost",
    "login",
    "mail",
    "metrics",
    "mta-sts",
    "postmaster",
    "root",
    "security",
    "smtp",
    "socket2me",
    "status",
    "webmaster",
    "www",
];

/// A token: base64 of the text of a UUID v4, 48 letters and digits, or a name that its owner chose (PROTOCOL.md, "HTTP
/// routes" and "Names").
///
/// A token is the public URL and, for a tunnel without a key, the end's only credential: `Debug` shows its first eight
/// characters alone.
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
        let mut hyphenated = [0; HYPHENATED];
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
        (is_of_a_uuid(text) || check_name(text).is_ok()).then(|| Self::of(text.as_bytes()))
    }

    /// Reads a name that somebody chose for a tunnel.
    ///
    /// # Errors
    /// Fails with what is wrong with the name.
    pub fn from_name(text: &str) -> Result<Self, InvalidName> {
        check_name(text).map(|()| Self::of(text.as_bytes()))
    }

    /// Tells whether this is a name, not the token of a UUID.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !is_of_a_uuid(self.as_str())
    }

    /// Reads the token of which this is the label in the name of a host: a name, or with its hyphens the UUID of a token, which
    /// itself would not survive that letters have no case there (RFC 4343).
    #[must_use]
    pub fn from_label(label: &[u8]) -> Option<Self> {
        let mut lower = [0; MAX_LENGTH];
        let lower = lower.get_mut(..label.len())?;
        lower.copy_from_slice(label);
        lower.make_ascii_lowercase();
        let label = std::str::from_utf8(lower).ok()?;
        if label.len() == HYPHENATED
            && let Ok(uuid) = uuid::Uuid::try_parse(label)
        {
            return Some(Self::from_uuid(uuid));
        }
        Self::from_name(label).ok()
    }

    /// Returns the label of the token in the name of a host. `None` for 48 letters and digits that are base64 of no UUID: no
    /// server makes such a token.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        if self.is_name() {
            return Some(self.as_str().to_owned());
        }
        let text = STANDARD.decode(self.as_str()).ok().filter(|text| text.len() == HYPHENATED)?;
        let uuid = uuid::Uuid::try_parse_ascii(&text).ok()?;
        // A UUID in capitals has the same label, which is the token of the one in small letters.
        (Self::from_uuid(uuid) == *self).then(|| uuid.hyphenated().to_string())
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

/// Tells whether a text has the form of the base64 of a UUID.
fn is_of_a_uuid(text: &str) -> bool {
    text.len() == TOKEN_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn check_name(text: &str) -> Result<(), InvalidName> {
    if !(MIN_NAME..=MAX_LENGTH).contains(&text.len()) {
        return Err(InvalidName::Length);
    }
    if !text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(InvalidName::Character);
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidName::Hyphen);
    }
    // RFC 5890, section 2.3.2.1: such a label is shown as other characters.
    if text.starts_with("xn--") {
        return Err(InvalidName::Punycode);
    }
    if is_of_a_uuid(text) || uuid::Uuid::try_parse(text).is_ok() {
        return Err(InvalidName::Uuid);
    }
    if RESERVED.contains(&text) {
        return Err(InvalidName::Reserved);
    }
    Ok(())
}

/// Why a text cannot be the name of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidName {
    /// It is too short or too long.
    Length,
    /// It has a character other than a small letter, a digit or a hyphen.
    Character,
    /// It begins or ends with a hyphen.
    Hyphen,
    /// It begins with `xn--`, as the encoded form of an international name.
    Punycode,
    /// It has the form of a UUID or of the token of one.
    Uuid,
    /// It is one of [`RESERVED`].
    Reserved,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a name has 3 to 63 characters",
            Self::Character => "a name has small letters, digits and hyphens alone, such as my-app-2",
            Self::Hyphen => "a name neither begins nor ends with a hyphen",
            Self::Punycode => "a name does not begin with xn--",
            Self::Uuid => "a name does not have the form of a UUID or of a token: leave the name out for a token",
            Self::Reserved => "this name is reserved: choose another",
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name is public, but one that is in a log is shown no better than a token.
        let shown = self.as_str().len().div_ceil(2).min(8);
        write!(f, "{}…", &self.as_str()[..shown])
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
        let long = "A".repeat(TOKEN_LENGTH + 1);
        let comma = format!("{},", "a".repeat(TOKEN_LENGTH - 1));
        for text in ["", "ab", "ABC", &long, &comma, &"é".repeat(TOKEN_LENGTH / 2), &"a".repeat(MAX_LENGTH + 1)] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_a_label_of_a_host_that_nothing_else_looks_like() {
        for name in ["abc", "my-app-2", "0", "a--b", "xn-a", &"a".repeat(MAX_LENGTH)] {
            let expected = if name == "0" { Err(InvalidName::Length) } else { Ok(name) };
            let token = Token::from_name(name);
            assert_eq!(token.as_ref().map(Token::as_str).map_err(|error| *error), expected, "{name}");
            assert_eq!(Token::parse(name), token.ok(), "{name}");
            assert!(token.is_err() || token.unwrap().is_name());
        }
        for (name, expected) in [
            (&*"a".repeat(MAX_LENGTH + 1), InvalidName::Length),
            ("my_app", InvalidName::Character),
            ("Abc", InvalidName::Character),
            ("käse", InvalidName::Character),
            ("-abc", InvalidName::Hyphen),
            ("abc-", InvalidName::Hyphen),
            ("xn--abc", InvalidName::Punycode),
            (&"a".repeat(TOKEN_LENGTH), InvalidName::Uuid),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8", InvalidName::Uuid),
            ("67e5504410b1426f9247bb680e5fe0c8", InvalidName::Uuid),
            ("admin", InvalidName::Reserved),
        ] {
            assert_eq!(Token::from_name(name), Err(expected), "{name}");
        }
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn a_label_of_a_host_is_a_name_or_a_uuid_in_any_case() {
        const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let token = Token::from_uuid(uuid::Uuid::try_parse(UUID).unwrap());
        let longest = "a".repeat(MAX_LENGTH);
        for (label, expected) in [
            ("my-app", Token::parse("my-app")),
            ("My-APP", Token::parse("my-app")),
            (&longest, Token::parse(&longest)),
            (UUID, Some(token)),
            (&UUID.to_ascii_uppercase(), Some(token)),
            // Not a name, although it is the token's text, whose case a host does not keep.
            (token.as_str(), None),
            (&"a".repeat(TOKEN_LENGTH), None),
            (&UUID.replace('-', ""), None),
            (&format!("{{{UUID}}}"), None),
            (&UUID.replace('6', "g"), Token::parse("g7e55044-10b1-42gf-9247-bbg80e5fe0c8")),
            (&"a".repeat(MAX_LENGTH + 1), None),
            ("", None),
            ("ab", None),
            ("a.b", None),
            ("käse", None),
            ("www", None),
            ("localhost", None),
            ("xn--abc", None),
            ("-abc", None),
        ] {
            assert_eq!(Token::from_label(label.as_bytes()), expected, "{label}");
            let again = expected.map(|token| token.label().unwrap());
            assert_eq!(again, expected.map(|_| label.to_ascii_lowercase()), "{label}");
        }
        assert_eq!(Token::from_label(b"abc\xff"), None);
        for odd in
            ["A".repeat(TOKEN_LENGTH), STANDARD.encode(UUID.to_ascii_uppercase()), STANDARD.encode("x".repeat(36))]
        {
            assert_eq!(Token::parse(&odd).unwrap().label(), None, "{odd}");
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
        assert!(!token.is_name());
        assert_eq!(format!("{:?}", Token::from_name("abc").unwrap()), "ab…");
    }
}
