//! The events of an exchange that streams, coded both ways (PROTOCOL.md, "Events of a stream").

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::abort::AbortCode;
use super::options::BytesAs;
/// A WebSocket message, or a part of one.
pub use crate::proto::engine_io::Message as Part;
use crate::proto::engine_io::{Space, base64};
use crate::proto::json::{self, Kind};
use crate::proto::socket_io::attachments::placeholders;
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, Namespace};

/// The size of an event's text without what varies, in bytes.
const TEXT: usize = 96;

/// An event of one exchange. Both sides send all kinds but `Response` and `Pull`, which are the end's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The head of the response.
    Response {
        /// The status, as the end wrote it.
        status: u16,
        /// The headers: an object of JSON, or `null`.
        headers: ByteString,
    },
    /// Bytes of a body, or behind a 101 of the connection.
    Data {
        /// The bytes.
        bytes: Bytes,
        /// How many bytes of this direction came before.
        offset: u64,
    },
    /// The direction is complete.
    End {
        /// How many bytes it had.
        total: u64,
        /// The trailers of a body: an object of JSON.
        trailers: Option<ByteString>,
    },
    /// A WebSocket message, or a part of one.
    Message {
        /// The part.
        part: Part,
        /// More parts of the same message follow.
        more: bool,
        /// How many parts of this direction came before.
        number: u64,
    },
    /// The WebSocket closes in this direction.
    Close {
        /// How many parts it had.
        parts: u64,
        /// The close code.
        code: u16,
        /// The words beside it.
        reason: ByteString,
    },
    /// The request's body may come.
    Pull,
    /// Both directions are over.
    Abort {
        /// Why.
        code: AbortCode,
        /// Words for a person.
        message: Option<ByteString>,
    },
}

/// An event's arguments are missing, of a wrong type, or out of range: the message says what should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An event as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The exchange's id; empty where there is none.
    pub id: ByteString,
    /// The event.
    pub event: Result<Event, Malformed>,
}

impl Received {
    /// Reads an event by its name. Returns `None` for other events.
    #[must_use]
    pub fn decode(args: &Args, attachments: &[Bytes]) -> Option<Self> {
        let read = match args.get(0)? {
            "\"data\"" => read_data,
            "\"response\"" => read_response,
            "\"end\"" => read_end,
            "\"message\"" => read_message,
            "\"close\"" => read_close,
            "\"pull\"" => |_: &Args, _: &[Bytes]| Ok(Event::Pull),
            "\"abort\"" => read_abort,
            _ => return None,
        };
        let id = text(args, 1).unwrap_or_default();
        Some(Self { id, event: read(args, attachments) })
    }
}

fn read_response(args: &Args, _: &[Bytes]) -> Result<Event, Malformed> {
    let status = number(args, 2).and_then(|status| u16::try_from(status).ok());
    let headers = match args.get(3) {
        None => ByteString::from_static("null"),
        Some(headers) => args.json().slice_ref(headers),
    };
    let status = status.ok_or(Malformed("response has an id, a status and headers, such as ('1-2', 200, {})"))?;
    Ok(Event::Response { status, headers })
}

fn read_data(args: &Args, attachments: &[Bytes]) -> Result<Event, Malformed> {
    const SHAPE: Malformed = Malformed("data has an id, bytes and the offset, such as ('1-2', Buffer.from('abc'), 0)");
    let bytes = bytes(args, 2, attachments).ok_or(SHAPE)?;
    Ok(Event::Data { bytes, offset: number(args, 3).ok_or(SHAPE)? })
}

fn read_end(args: &Args, _: &[Bytes]) -> Result<Event, Malformed> {
    const SHAPE: Malformed = Malformed("end has an id and the number of all bytes, such as ('1-2', 3)");
    let trailers = match args.get(3).map(|trailers| (Kind::of(trailers), trailers)) {
        None | Some((Kind::Null, _)) => None,
        Some((Kind::Object, trailers)) => Some(args.json().slice_ref(trailers)),
        Some(_) => return Err(SHAPE),
    };
    Ok(Event::End { total: number(args, 2).ok_or(SHAPE)?, trailers })
}

fn read_message(args: &Args, attachments: &[Bytes]) -> Result<Event, Malformed> {
    const SHAPE: Malformed = Malformed(
        "message has an id, a string or bytes, whether more follow, and a number, such as ('1-2', 'a', false, 0)",
    );
    let part = match args.get(2).map(Kind::of) {
        Some(Kind::String) => Part::Text(text(args, 2).ok_or(SHAPE)?),
        _ => Part::Binary(bytes(args, 2, attachments).ok_or(SHAPE)?),
    };
    let more = match args.get(3) {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(SHAPE),
    };
    Ok(Event::Message { part, more, number: number(args, 4).ok_or(SHAPE)? })
}

fn read_close(args: &Args, _: &[Bytes]) -> Result<Event, Malformed> {
    const SHAPE: Malformed =
        Malformed("close has an id, the number of all parts, a code and a reason, such as ('1-2', 1, 1000, '')");
    let reason = match args.get(4) {
        None | Some("null") => ByteString::new(),
        Some(_) => text(args, 4).ok_or(SHAPE)?,
    };
    let code = number(args, 3).and_then(|code| u16::try_from(code).ok()).ok_or(SHAPE)?;
    Ok(Event::Close { parts: number(args, 2).ok_or(SHAPE)?, code, reason })
}

fn read_abort(args: &Args, _: &[Bytes]) -> Result<Event, Malformed> {
    let code = text(args, 2).ok_or(Malformed("abort has an id and a code, such as ('1-2', 'local-gone')"))?;
    Ok(Event::Abort { code: AbortCode::parse(&code), message: text(args, 3) })
}

/// Returns a whole number. Of no other size, so that none is read as another.
fn number(args: &Args, index: usize) -> Option<u64> {
    args.get(index)?.parse().ok()
}

/// Returns a string. A lone surrogate in it becomes U+FFFD, as where JavaScript writes UTF-8.
fn text(args: &Args, index: usize) -> Option<ByteString> {
    let is_text = args.get(index).map(Kind::of) == Some(Kind::String);
    is_text.then(|| args.text(index))?.and_then(|text| ByteString::try_from(text).ok())
}

/// Returns bytes: an attachment, or a string in base64.
fn bytes(args: &Args, index: usize, attachments: &[Bytes]) -> Option<Bytes> {
    let json = args.get(index)?;
    match (Kind::of(json), attachments) {
        (Kind::String, _) => base64::decode(&args.text(index)?).ok(),
        (Kind::Object, [one]) if json == r#"{"_placeholder":true,"num":0}"# => Some(one.clone()),
        (Kind::Object, _) => match placeholders(json, attachments, 1).ok()?.as_slice() {
            [(range, number)] if range.len() == json.len() => attachments.get(*number).cloned(),
            _ => None,
        },
        (Kind::Array | Kind::Number | Kind::Bool | Kind::Null, _) => None,
    }
}

impl Event {
    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Response { .. } => "response",
            Self::Data { .. } => "data",
            Self::End { .. } => "end",
            Self::Message { .. } => "message",
            Self::Close { .. } => "close",
            Self::Pull => "pull",
            Self::Abort { .. } => "abort",
        }
    }

    /// Writes the event of the exchange with this id. `data` and `message` are sent with an ack id.
    #[must_use]
    pub fn encode(&self, id: &str, namespace: &Namespace, ack: Option<AckId>, bytes_as: BytesAs) -> Encoded {
        let (attachments, size) = match (self, bytes_as) {
            (Self::Data { bytes, .. }, BytesAs::Attachment)
            | (Self::Message { part: Part::Binary(bytes), .. }, BytesAs::Attachment) => (vec![bytes.clone()], TEXT),
            (Self::Data { bytes, .. } | Self::Message { part: Part::Binary(bytes), .. }, BytesAs::Base64) => {
                (Vec::new(), TEXT + base64::length(bytes.len()))
            }
            (Self::Message { part: Part::Text(text), .. }, _) => {
                (Vec::new(), TEXT + json::escaped_len(text.as_bytes()))
            }
            _ => (Vec::new(), TEXT),
        };
        let mut event = Encoded::begin(namespace, ack, attachments, Space::New(size));
        let out = event.json();
        out.extend(["[\"", self.name(), "\","]);
        json::write_string(id, out);
        self.write_arguments(bytes_as, out);
        out.push(']');
        event.finish()
    }

    fn write_arguments(&self, bytes_as: BytesAs, out: &mut String) {
        match self {
            Self::Response { status, headers } => {
                write_number((*status).into(), out);
                out.extend([",", headers]);
            }
            Self::Data { bytes, offset } => {
                write_bytes(bytes, bytes_as, out);
                write_number(*offset, out);
            }
            Self::End { total, trailers } => {
                write_number(*total, out);
                if let Some(trailers) = trailers {
                    out.extend([",", trailers]);
                }
            }
            Self::Message { part, more, number } => {
                match part {
                    Part::Text(text) => {
                        out.push(',');
                        json::write_string(text, out);
                    }
                    Part::Binary(data) => write_bytes(data, bytes_as, out),
                }
                out.push_str(if *more { ",true" } else { ",false" });
                write_number(*number, out);
            }
            Self::Close { parts, code, reason } => {
                write_number(*parts, out);
                write_number((*code).into(), out);
                out.push(',');
                json::write_string(reason, out);
            }
            Self::Pull => (),
            Self::Abort { code, message } => {
                out.push(',');
                json::write_string(code.as_str(), out);
                if let Some(message) = message {
                    out.push(',');
                    json::write_string(message, out);
                }
            }
        }
    }
}

fn write_number(number: u64, out: &mut String) {
    out.extend([",", itoa::Buffer::new().format(number)]);
}

fn write_bytes(bytes: &[u8], bytes_as: BytesAs, out: &mut String) {
    match bytes_as {
        BytesAs::Attachment => out.push_str(r#",{"_placeholder":true,"num":0}"#),
        BytesAs::Base64 => {
            out.push_str(",\"");
            base64::write(bytes, out);
            out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::engine_io::Message;

    fn args(encoded: &Encoded) -> Args {
        let Message::Text(text) = encoded.text.message() else { panic!("an event is text") };
        let at = text.find('[').unwrap();
        Args::parse(text.slice_ref(&text[at..])).unwrap()
    }

    fn namespace() -> Namespace {
        Namespace::new("/T0KEN".into()).unwrap()
    }

    #[test]
    fn each_event_is_read_as_it_was_written() {
        let data = |bytes: &'static [u8]| Bytes::from_static(bytes);
        let events = [
            Event::Response { status: 200, headers: r#"{"content-type":"text/html","a":["1","2"]}"#.into() },
            Event::Response { status: 999, headers: "null".into() },
            Event::Data { bytes: data(b"\0\xffabc"), offset: 0 },
            Event::Data { bytes: data(b""), offset: (1 << 53) - 1 },
            Event::End { total: 7, trailers: None },
            Event::End { total: 0, trailers: Some(r#"{"x":"1"}"#.into()) },
            Event::Message { part: Part::Text("\"é\u{0}😀".into()), more: true, number: 3 },
            Event::Message { part: Part::Binary(data(b"\x01")), more: false, number: 0 },
            Event::Close { parts: 2, code: 1001, reason: "bye \"x\"".into() },
            Event::Pull,
            Event::Abort { code: AbortCode::LocalGone, message: None },
            Event::Abort { code: AbortCode::TooLarge, message: Some("over 1 MB".into()) },
        ];
        for event in events {
            let ways: &[BytesAs] = match event {
                // A string is a text message.
                Event::Message { part: Part::Binary(_), .. } => &[BytesAs::Attachment],
                _ => &[BytesAs::Attachment, BytesAs::Base64],
            };
            for &bytes_as in ways {
                let encoded = event.encode("1-2", &namespace(), AckId::new(5), bytes_as);
                let received = Received::decode(&args(&encoded), &encoded.attachments).unwrap();
                assert_eq!(received, Received { id: "1-2".into(), event: Ok(event.clone()) }, "{encoded:?}");
            }
        }
    }

    #[test]
    fn is_the_documented_text() {
        let event = Event::Data { bytes: Bytes::from_static(b"abc"), offset: 65_381 };
        let shown = |encoded: Encoded| match encoded.text.message() {
            Message::Text(text) => text.to_string(),
            Message::Binary(data) => panic!("{data:?}"),
        };
        let encode = |bytes_as| shown(event.encode("e8acec27", &namespace(), AckId::new(3), bytes_as));
        let expected = r#"51-/T0KEN,3["data","e8acec27",{"_placeholder":true,"num":0},65381]"#;
        assert_eq!(encode(BytesAs::Attachment), expected);
        assert_eq!(encode(BytesAs::Base64), r#"2/T0KEN,3["data","e8acec27","YWJj",65381]"#);
    }

    #[test]
    fn what_is_missing_or_of_a_wrong_type_is_malformed() {
        for json in [
            r#"["data"]"#,
            r#"["data","1-2"]"#,
            r#"["data","1-2",{"0":1},0]"#,
            r#"["data","1-2",[1,2],0]"#,
            r#"["data","1-2","%%%%",0]"#,
            r#"["data","1-2",{"_placeholder":true,"num":0},"0"]"#,
            r#"["data","1-2",{"_placeholder":true,"num":0},-1]"#,
            r#"["data","1-2",{"_placeholder":true,"num":0},1.5]"#,
            r#"["data","1-2",{"a":{"_placeholder":true,"num":0}},0]"#,
            r#"["response","1-2"]"#,
            r#"["response","1-2","200",{}]"#,
            r#"["response","1-2",70000,{}]"#,
            r#"["end","1-2"]"#,
            r#"["end","1-2",1,"x"]"#,
            r#"["message","1-2","a",1,0]"#,
            r#"["message","1-2","a",true]"#,
            r#"["message","1-2",7,true,0]"#,
            r#"["close","1-2",0]"#,
            r#"["close","1-2",0,70000,""]"#,
            r#"["abort","1-2",7]"#,
        ] {
            let received = Received::decode(&Args::parse(json.into()).unwrap(), &[Bytes::from_static(b"x")]).unwrap();
            assert!(received.event.is_err(), "{json}: {received:?}");
        }
        for json in [r#"["request","1-2"]"#, "[]", "[1]", r#"["Data","1-2",0]"#] {
            assert_eq!(Received::decode(&Args::parse(json.into()).unwrap(), &[]), None);
        }
    }
}
