//! Text that was encoded as UTF-8 twice, and how to tell it.
//!
//! Clients of socket.io 1 and 2 both say `EIO=3`. Over polling, those of 1 make bytes of a packet's text, take each
//! byte for a character, and let HTTP make bytes of those: `é` arrives as `Ã©`. Most text shows whether it was encoded
//! so:
//!
//! - ASCII is the same either way.
//! - A character beyond U+00FF cannot come from encoding twice: the client is not one of socket.io 1.
//! - Text that is not UTF-8 when it is decoded once more stays as it came, and shows nothing. But half a surrogate
//!   pair, as three bytes of WTF-8, is meant as such, and in JSON can be written as an escape.
//! - Text like `Ã©` itself could be either. A client of socket.io 2 writes `40/ns,` when it joins, one of 1 `40/ns`,
//!   and both join before they say anything else. So such text is decoded once more, unless that comma or a character
//!   beyond U+00FF has shown a client of socket.io 2.

use bytestring::ByteString;

use crate::proto::{json, wtf8};

/// What is known of one client.
#[derive(Debug)]
pub struct DoubleUtf8 {
    /// Nothing has shown that the client is not one of socket.io 1.
    may_be_socket_io_1: bool,
}

impl Default for DoubleUtf8 {
    fn default() -> Self {
        Self { may_be_socket_io_1: true }
    }
}

impl DoubleUtf8 {
    /// Whether the client could be one of socket.io 1.
    #[must_use]
    pub fn may_be_socket_io_1(&self) -> bool {
        self.may_be_socket_io_1
    }

    /// Learns from the text of a packet that was not encoded twice, or is ASCII.
    pub fn notice(&mut self, text: &str) {
        if text.starts_with("0/") && text.ends_with(',') {
            self.may_be_socket_io_1 = false;
        }
    }

    /// Returns what a packet's text, as it came, was meant to be.
    pub fn read(&mut self, text: ByteString) -> ByteString {
        if !self.may_be_socket_io_1 {
            return text;
        }
        self.notice(&text);
        if !self.may_be_socket_io_1 || text.is_ascii() {
            return text;
        }
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        match bytes.map(|bytes| wtf8::decode(&bytes, json::write_unicode_escape)) {
            Ok(Some(meant)) => meant.into(),
            Ok(None) => text,
            Err(_) => {
                self.may_be_socket_io_1 = false;
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client of socket.io 1 makes of a text.
    fn encoded_twice(text: &str) -> String {
        text.bytes().map(char::from).collect()
    }

    #[test]
    fn knows_text_that_was_encoded_twice() {
        for text in ["ascii", "é", "héllo €", "日本", "😀", "\u{80}\u{ff}", "\u{10ffff}", "Ã©"] {
            let mut known = DoubleUtf8::default();
            assert_eq!(known.read("0/ns".into()), "0/ns");
            for _ in 0..2 {
                assert_eq!(known.read(encoded_twice(text).into()), text, "{text}");
            }
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_an_escape() {
        for (came, meant) in [
            ("\u{ed}\u{a0}\u{bd}".to_owned(), "\\ud83d".to_owned()),
            (encoded_twice("é") + "\u{ed}\u{bf}\u{bf}" + &encoded_twice("x😀"), "é\\udfffx😀".to_owned()),
            ("\u{ed}\u{a0}\u{80}\u{ed}\u{b0}\u{80}".to_owned(), "\\ud800\\udc00".to_owned()),
        ] {
            assert_eq!(DoubleUtf8::default().read(came.into()), meant);
        }
    }

    #[test]
    fn leaves_the_text_of_socket_io_2_alone() {
        for join in ["0/ns,", "0/ns?a=b,", "0/ns?a=Ã©,"] {
            let mut known = DoubleUtf8::default();
            assert_eq!(known.read(join.into()), join);
            for text in ["é", "Ã©", "€", "Ã©"] {
                assert_eq!(known.read(text.into()), text, "{join} {text}");
            }
        }
    }

    /// Without the comma, as from a client that nobody has thought of, the first text that cannot have been encoded
    /// twice tells.
    #[test]
    fn learns_from_text_that_cannot_be_encoded_twice() {
        for proof in ["€", "Ã©€"] {
            let mut known = DoubleUtf8::default();
            assert_eq!(known.read("Ã©".into()), "é", "nothing is known yet");
            for broken in ["é", "\u{ff}", "\u{ed}\u{a0}", "\u{ed}\u{a0}\u{7f}", "\u{ed}\u{a0}\u{bd}\u{ff}"] {
                assert_eq!(known.read(broken.into()), broken);
            }
            assert_eq!(known.read("Ã©".into()), "é", "what is broken shows nothing");
            assert_eq!(known.read(proof.into()), proof);
            assert_eq!(known.read("Ã©".into()), "Ã©", "after {proof}");
        }
    }
}
