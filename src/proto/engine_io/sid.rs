//! The id of a session.

use std::fmt;

/// The length of a session id, in characters.
pub const SID_LENGTH: usize = 20;

/// A session id: 20 characters of base64url, which are 15 random bytes. It is a bearer secret, so `Debug` shows four
/// characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; SID_LENGTH]);

impl Sid {
    /// Returns the id of random bytes, which the caller takes from the system's generator.
    #[must_use]
    pub fn from_random(random: [u8; 15]) -> Self {
        use base64::Engine as _;
        let mut sid = [0; SID_LENGTH];
        let length = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(random, &mut sid);
        debug_assert_eq!(length, Ok(SID_LENGTH));
        Self(sid)
    }

    /// Reads an id. `None` is a text that is the id of no session; it never means that there is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; SID_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(Self(bytes))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII only")
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..4])
    }
}
