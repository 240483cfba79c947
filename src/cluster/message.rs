//! What nodes tell each other, directly and by the inboxes that the store keeps. Taken up twice, a message does what it does once.

use std::fmt;

use crate::proto::engine_io::Sid;
use crate::proto::token::Token;

/// A message for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Another node has claimed a tunnel with this epoch: ends with older claims leave.
    Evict(Token, u64),
    /// A tunnel has been changed, or has ended.
    Changed(Token),
    /// The operator has closed a tunnel: its ends with claims up to this epoch are disconnected.
    Close(Token, u64),
    /// The node stops through which the WebSocket of a session comes: the session's ends leave once they have answered.
    Move(Sid),
    /// The node stops through which a poll of a session comes: the poll is answered, also if there is nothing to say.
    Answer(Sid),
}

impl Message {
    /// Reads what [`fmt::Display`] writes. `None` is a message of a version that knows more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (kind, subject) = (words.next()?, words.next()?);
        match kind {
            "move" => return Sid::parse(subject).map(Self::Move),
            "answer" => return Sid::parse(subject).map(Self::Answer),
            _ => (),
        }
        let token = Token::parse(subject)?;
        Some(match kind {
            "evict" => Self::Evict(token, words.next()?.parse().ok()?),
            "changed" => Self::Changed(token),
            "close" => Self::Close(token, words.next()?.parse().ok()?),
            _ => return None,
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evict(token, epoch) => write!(f, "evict {} {epoch}", token.as_str()),
            Self::Changed(token) => write!(f, "changed {}", token.as_str()),
            Self::Close(token, epoch) => write!(f, "close {} {epoch}", token.as_str()),
            Self::Move(sid) => write!(f, "move {}", sid.as_str()),
            Self::Answer(sid) => write!(f, "answer {}", sid.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_is_written() {
        let token = Token::from_name("mine").unwrap();
        for message in [
            Message::Evict(token, u64::MAX),
            Message::Changed(token),
            Message::Close(token, 7),
            Message::Move(Sid::from_random([7; 15])),
            Message::Answer(Sid::from_random([7; 15])),
        ] {
            assert_eq!(Message::parse(&message.to_string()), Some(message));
        }
        // A later version may say more.
        assert_eq!(Message::parse("evict mine 7 because"), Some(Message::Evict(token, 7)));
        for other in [
            "",
            "evict",
            "evict mine",
            "evict mine x",
            "evict a/b 1",
            "close mine",
            "else mine",
            "move mine",
            "answer mine",
        ] {
            assert_eq!(Message::parse(other), None, "{other}");
        }
    }

    /// A node of the next version says these, and understands them. What it says beyond them, this one reads over.
    #[test]
    fn what_version_1_says_has_not_changed() {
        let mine = Token::from_name("mine").unwrap();
        let original = Token::from_uuid(uuid::Uuid::from_u128(1));
        let sid = Sid::parse("AQEBAQEBAgICAgICAgICAgICmzyTLTB6").unwrap();
        for (text, message) in [
            ("evict mine 1700000000000001", Message::Evict(mine, 1_700_000_000_000_001)),
            ("evict MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAx 7", Message::Evict(original, 7)),
            ("changed mine", Message::Changed(mine)),
            ("close mine 1700000000000001", Message::Close(mine, 1_700_000_000_000_001)),
            ("move AQEBAQEBAgICAgICAgICAgICmzyTLTB6", Message::Move(sid)),
            ("answer AQEBAQEBAgICAgICAgICAgICmzyTLTB6", Message::Answer(sid)),
        ] {
            assert_eq!(message.to_string(), text);
            for more in ["", " ", " later", " 7 later=x {\"a\":1} é"] {
                assert_eq!(Message::parse(&format!("{text}{more}")), Some(message), "{text}{more}");
            }
        }
        for later in ["later", "later mine", "later mine 7", "evict-all mine 7", "changed", "{\"evict\":\"mine\"}"] {
            assert_eq!(Message::parse(later), None, "{later}");
        }
    }
}
