//! What an end asks for with `stream` when it connects, and what holds.

use bytestring::ByteString;

use super::{FIRST_WINDOW, MAX_CHUNK, MAX_WINDOW, MIN_CHUNK};
use crate::proto::json;

/// The version of the extension.
pub const VERSION: u64 = 1;

/// The room that the text of a `data` event takes in a payload at the most, in bytes.
const AROUND_CHUNK: usize = 4 << 10;

/// How a visitor's WebSocket reaches the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebSocketAs {
    /// As messages: the server does the handshake, masks, pings, UTF-8 and close codes.
    #[default]
    Messages,
    /// As the raw bytes behind the end's own 101.
    Raw,
}

impl WebSocketAs {
    /// Returns the word of the options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Raw => "raw",
        }
    }

    /// Reads a word of the options.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Messages, Self::Raw].into_iter().find(|way| way.as_str() == word)
    }
}

/// How the bytes of an event travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BytesAs {
    /// As an attachment.
    #[default]
    Attachment,
    /// As a string in base64, for clients that tear an event and its attachment apart.
    Base64,
}

impl BytesAs {
    /// Returns the word of the options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attachment => "attachment",
            Self::Base64 => "base64",
        }
    }

    /// Reads a word of the options.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Attachment, Self::Base64].into_iter().find(|way| way.as_str() == word)
    }
}

/// What an end asks for: each size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What the server may send of an exchange and not have acknowledged.
    pub window: u64,
    /// The largest payload of one event.
    pub chunk: u64,
    /// How WebSockets reach the end.
    pub websocket: WebSocketAs,
    /// A request's body comes after the end's `pull`.
    pub pull: bool,
    /// Each event of an exchange waits for the ack of the one before.
    pub serial: bool,
    /// How bytes travel.
    pub bytes: BytesAs,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            window: FIRST_WINDOW as u64,
            chunk: MAX_CHUNK as u64,
            websocket: WebSocketAs::Messages,
            pull: false,
            serial: false,
            bytes: BytesAs::Attachment,
        }
    }
}

/// The names in `stream`.
pub const NAMES: [&str; 7] = ["version", "window", "chunk", "ws", "pull", "serial", "bytes"];

impl Asked {
    /// Reads the member `stream` of an end's `auth`. Returns `None` where the end does not ask for streaming.
    ///
    /// # Errors
    /// Fails with a message for the end's author if a value means nothing.
    pub fn from_json(stream: &ByteString) -> Result<Option<Self>, String> {
        match json::Kind::of(stream) {
            json::Kind::Object => (),
            json::Kind::Null => return Ok(None),
            json::Kind::Bool | json::Kind::Number => return is_asked("auth.stream", stream),
            json::Kind::String | json::Kind::Array => return Err(wrong("auth.stream", "1 or an object")),
        }
        let mut asked = Self::default();
        for name in NAMES {
            let Some(value) = json::member(stream, name).filter(|value| &**value != "null") else { continue };
            let is_text = json::Kind::of(&value) == json::Kind::String;
            let text = json::unquote(&value);
            // A word and a number that are written alike mean the same in a query, and not here.
            let value = if is_text == matches!(name, "ws" | "bytes") { &*text } else { "" };
            asked.set(&format!("auth.stream.{name}"), name, value)?;
        }
        Ok(Some(asked))
    }

    /// Reads the query of an end on Engine.IO 3: `stream=1`, and beside it the others by their names, but for `version`. Of a
    /// repeated option the last value counts. Without `stream` the others mean nothing.
    ///
    /// # Errors
    /// Fails with a message for the end's author if a value means nothing.
    pub fn from_query(query: &str) -> Result<Option<Self>, String> {
        let options = || form_urlencoded::parse(query.as_bytes());
        let Some((_, stream)) = options().filter(|(name, _)| name == "stream").last() else { return Ok(None) };
        let Some(mut asked) = is_asked("stream", &stream)? else { return Ok(None) };
        for (name, value) in options().filter(|(name, _)| name != "version" && NAMES.contains(&&**name)) {
            asked.set(&name, &name, &value)?;
        }
        Ok(Some(asked))
    }

    fn set(&mut self, shown: &str, name: &str, value: &str) -> Result<(), String> {
        let size = || value.parse().map_err(|_| wrong(shown, "a whole number of bytes"));
        let switch = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(shown, "true or false")),
        };
        match name {
            "version" => match value.parse() {
                Ok(1_u64..) => (),
                _ => return Err(wrong(shown, "1")),
            },
            "window" => self.window = size()?,
            "chunk" => self.chunk = size()?,
            "pull" => self.pull = switch()?,
            "serial" => self.serial = switch()?,
            "ws" => {
                self.websocket = WebSocketAs::parse(value).ok_or_else(|| wrong(shown, "'messages' or 'raw'"))?;
            }
            _ => self.bytes = BytesAs::parse(value).ok_or_else(|| wrong(shown, "'base64' or 'attachment'"))?,
        }
        Ok(())
    }
}

/// Reads `1`, `true`, `0` or `false`.
fn is_asked(shown: &str, value: &str) -> Result<Option<Asked>, String> {
    match value {
        "true" | "1" => Ok(Some(Asked::default())),
        "false" | "0" => Ok(None),
        _ => Err(wrong(shown, "1 or an object")),
    }
}

fn wrong(shown: &str, expected: &str) -> String {
    format!("{shown} must be {expected}")
}

/// What holds between the server and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What the server may send of an exchange and not have acknowledged, in bytes, until an ack raises it.
    pub window: usize,
    /// The largest payload of one event, in bytes.
    pub chunk: usize,
    /// How WebSockets reach the end.
    pub websocket: WebSocketAs,
    /// A request's body comes after the end's `pull`.
    pub pull: bool,
    /// Each event of an exchange waits for the ack of the one before.
    pub serial: bool,
    /// How bytes travel.
    pub bytes: BytesAs,
}

impl Terms {
    /// Returns what holds for an end that asks for this, on a session whose payloads have at most `max_payload` bytes.
    #[must_use]
    pub fn settle(asked: Asked, max_payload: usize) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let most = (max_payload.saturating_sub(AROUND_CHUNK) / 4 * 3).clamp(MIN_CHUNK, MAX_CHUNK);
        let chunk = size(asked.chunk).clamp(MIN_CHUNK, most);
        Self {
            window: size(asked.window).clamp(chunk, MAX_WINDOW),
            chunk,
            websocket: asked.websocket,
            pull: asked.pull,
            serial: asked.serial,
            bytes: asked.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_end_asks_for() {
        let all = Asked {
            window: 4 << 20,
            chunk: 1000,
            websocket: WebSocketAs::Raw,
            pull: true,
            serial: true,
            bytes: BytesAs::Base64,
        };
        for (stream, expected) in [
            ("1", Ok(Some(Asked::default()))),
            ("true", Ok(Some(Asked::default()))),
            ("{}", Ok(Some(Asked::default()))),
            (r#"{"version":7,"ws":null,"other":[]}"#, Ok(Some(Asked::default()))),
            ("false", Ok(None)),
            ("0", Ok(None)),
            ("null", Ok(None)),
            (
                r#"{"version":1,"window":4194304,"chunk":1000,"ws":"raw","pull":true,"serial":true,"bytes":"base64"}"#,
                Ok(Some(all)),
            ),
            ("2", Err("auth.stream must be 1 or an object")),
            ("\"1\"", Err("auth.stream must be 1 or an object")),
            (r#"{"version":0}"#, Err("auth.stream.version must be 1")),
            (r#"{"window":"9"}"#, Err("auth.stream.window must be a whole number of bytes")),
            (r#"{"window":-1}"#, Err("auth.stream.window must be a whole number of bytes")),
            (r#"{"pull":1}"#, Err("auth.stream.pull must be true or false")),
            (r#"{"ws":"both"}"#, Err("auth.stream.ws must be 'messages' or 'raw'")),
            (r#"{"bytes":true}"#, Err("auth.stream.bytes must be 'base64' or 'attachment'")),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(Asked::from_json(&ByteString::from(stream)), expected, "{stream}");
        }
    }

    #[test]
    fn reads_what_an_older_end_asks_for() {
        let raw = Asked { websocket: WebSocketAs::Raw, pull: true, window: 9, ..Asked::default() };
        for (query, expected) in [
            ("stream=1", Ok(Some(Asked::default()))),
            ("ws=raw&stream=true&pull=true&window=9&version=2", Ok(Some(raw))),
            ("ws=both&window=x&pull", Ok(None)),
            ("stream=1&stream=0&ws=both", Ok(None)),
            ("stream=yes", Err("stream must be 1 or an object")),
            ("stream=1&ws=both", Err("ws must be 'messages' or 'raw'")),
        ] {
            assert_eq!(Asked::from_query(query), expected.map_err(str::to_owned), "{query}");
        }
    }

    #[test]
    fn sizes_are_kept_within_what_both_sides_can_do() {
        let settle = |window, chunk, max_payload| {
            let terms = Terms::settle(Asked { window, chunk, ..Asked::default() }, max_payload);
            (terms.window, terms.chunk)
        };
        assert_eq!(settle(0, 0, 16 << 20), (MIN_CHUNK, MIN_CHUNK));
        assert_eq!(settle(u64::MAX, u64::MAX, 16 << 20), (MAX_WINDOW, MAX_CHUNK));
        assert_eq!(settle(300_000, 1000, 16 << 20), (300_000, 1000));
        assert_eq!(settle(10, 1000, 16 << 20), (1000, 1000));
        assert_eq!(settle(1 << 20, 60_000, 20 << 10), (1 << 20, 12 << 10));
        assert_eq!(settle(1 << 20, 60_000, 0), (1 << 20, MIN_CHUNK));
    }
}
