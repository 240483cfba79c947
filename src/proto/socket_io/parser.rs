//! The text of a packet, parsed with nom.
//!
//! ```text
//! packet      = type [ attachments "-" ] [ namespace [ "," ] ] [ ack-id ] [ json ]
//! attachments = 1*DIGIT           ; types 5 and 6 only, and there mandatory
//! namespace   = "/" *( any but "," )
//! ack-id      = 1*DIGIT
//! ```
//!
//! Of the JSON only the outermost form is looked at; see [`crate::proto::json`].

use std::fmt;

use bytestring::ByteString;
use nom::IResult;
use nom::Parser as _;
use nom::bytes::complete::{take_till, take_while_m_n};
use nom::character::complete::{char, satisfy};
use nom::combinator::{opt, recognize, rest};
use nom::sequence::{preceded, terminated};

use super::namespace::Namespace;
use super::packet::{AckId, Args, Packet};
use crate::proto::engine_io::Revision;
use crate::proto::json::{self, Kind};

/// The most digits of an attachment count. More are never right, and no number is made of them.
const MAX_ATTACHMENT_DIGITS: usize = 4;

/// The most digits of an ack id: those of 2^53 - 1.
const MAX_ACK_ID_DIGITS: usize = 16;

/// The names of events that a client must not emit: an application has handlers of its own for them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Why a text is not a packet. Always the peer's fault, and the end of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// No type, or an unknown one.
    Type,
    /// A count of attachments that is missing, zero or not a number, or a placeholder that names none of them.
    Attachments,
    /// A count of attachments above the limit.
    TooManyAttachments,
    /// JSON with attachments that is nested deeper than the limit.
    TooDeep,
    /// An ack id that is not an exact integer.
    AckId,
    /// A payload that is not JSON, or not of the form that the type demands.
    Payload,
    /// An event whose name is reserved, or is neither string nor number.
    EventName,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "unknown packet type",
            Self::Attachments => "illegal attachments",
            Self::TooManyAttachments => "too many attachments",
            Self::TooDeep => "JSON that is nested too deep",
            Self::AckId => "illegal ack id",
            Self::Payload => "invalid payload",
            Self::EventName => "invalid event name",
        })
    }
}

impl std::error::Error for ParseError {}

/// A packet's text, and how many binary messages complete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The packet, without its attachments.
    pub packet: Packet,
    /// How many binary messages must follow.
    pub missing: usize,
}

/// What stands in front of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'t> {
    /// The type, a digit.
    pub kind: char,
    /// The count of attachments; zero for the types without.
    pub attachments: usize,
    /// The namespace, `/` where none is written.
    pub namespace: &'t str,
    /// The ack id, if there is one.
    pub id: Option<AckId>,
    /// Everything after the id.
    pub payload: &'t str,
}

impl<'t> Head<'t> {
    /// Parses the head of a packet. The payload may be cut short: it is not looked at.
    ///
    /// # Errors
    /// When the type, the attachments or the id are wrong.
    pub fn parse(text: &'t str, max_attachments: usize) -> Result<Self, ParseError> {
        let (text, kind) = packet_type(text).map_err(|_| ParseError::Type)?;
        let (text, attachments) = if matches!(kind, '5' | '6') {
            let (text, digits) = attachment_count(text).map_err(|_| ParseError::Attachments)?;
            let count = digits.parse().map_err(|_| ParseError::Attachments)?;
            // Zero would leave the assembly armed (CVE-2026-69185), many would fill the memory (CVE-2026-33151).
            match count {
                0 => return Err(ParseError::Attachments),
                count if count > max_attachments => return Err(ParseError::TooManyAttachments),
                _ => (),
            }
            (text, count)
        } else {
            (text, 0)
        };
        let (text, namespace) = namespace(text).map_err(|_| ParseError::Payload)?;
        let (payload, id) = ack_id(text).map_err(|_| ParseError::AckId)?;
        let id = match id {
            Some(digits) => Some(digits.parse().ok().and_then(AckId::new).ok_or(ParseError::AckId)?),
            None => None,
        };
        Ok(Self { kind, attachments, namespace: namespace.unwrap_or("/"), id, payload })
    }
}

/// Parses a packet's text.
///
/// # Errors
/// When the text is not a packet, or has more than `max_attachments` attachments.
pub fn parse(text: &ByteString, max_attachments: usize, revision: Revision) -> Result<Parsed, ParseError> {
    let head = Head::parse(text, max_attachments)?;
    let namespace = match head.namespace {
        // It may not be written, and so no part of the text.
        "/" => Namespace::root(),
        name => Namespace::new(text.slice_ref(name)).ok_or(ParseError::Payload)?,
    };
    let payload = (!head.payload.is_empty()).then(|| text.slice_ref(head.payload));
    let id = head.id;
    let packet = match (head.kind, payload) {
        ('0', data) if id.is_none() => Packet::Connect { namespace, data: object(data)? },
        ('1', None) if id.is_none() => Packet::Disconnect { namespace },
        ('2' | '5', Some(json)) => {
            let args = Args::parse(json).map_err(|_| ParseError::Payload)?;
            check_event_name(&args, revision)?;
            Packet::Event { namespace, id, args, attachments: Vec::new() }
        }
        ('3' | '6', Some(json)) => {
            // An answer is mostly one string. With attachments it is something else, and waits for them.
            let parse = if head.kind == '3' { Args::parse_unescaping } else { Args::parse };
            let args = parse(json).map_err(|_| ParseError::Payload)?;
            Packet::Ack { namespace, id, args, attachments: Vec::new() }
        }
        ('3' | '6', None) => Packet::Ack { namespace, id: None, args: Args::empty(), attachments: Vec::new() },
        ('4', data) if id.is_none() => Packet::ConnectError { namespace, data: string_or_object(data)? },
        _ => return Err(ParseError::Payload),
    };
    Ok(Parsed { packet, missing: head.attachments })
}

fn packet_type(text: &str) -> IResult<&str, char> {
    satisfy(|character| matches!(character, '0'..='6')).parse(text)
}

fn attachment_count(text: &str) -> IResult<&str, &str> {
    let digits = take_while_m_n(1, MAX_ATTACHMENT_DIGITS, |character: char| character.is_ascii_digit());
    terminated(digits, char('-')).parse(text)
}

/// The namespace ends at the first comma, which is not part of it, or with the packet.
fn namespace(text: &str) -> IResult<&str, Option<&str>> {
    let name = recognize(preceded(char('/'), take_till(|character| character == ',')));
    opt(terminated(name, opt(char(',')))).parse(text)
}

/// A seventeenth digit is left over, and is then not JSON either.
fn ack_id(text: &str) -> IResult<&str, Option<&str>> {
    let digits = take_while_m_n(1, MAX_ACK_ID_DIGITS, |character: char| character.is_ascii_digit());
    let (text, id) = opt(digits).parse(text)?;
    let (_, payload) = rest(text)?;
    Ok((payload, id))
}

fn check_event_name(args: &Args, revision: Revision) -> Result<(), ParseError> {
    let name = args.get(0).ok_or(ParseError::Payload)?;
    match Kind::of(name) {
        // A number is a legal name (CVE-2023-32695 is what came of everything else).
        Kind::Number => Ok(()),
        Kind::String => match revision {
            // Clients of revision 3 are free to emit them.
            Revision::V3 => Ok(()),
            Revision::V4 if RESERVED_EVENTS.contains(&&*json::unquote(name)) => Err(ParseError::EventName),
            Revision::V4 => Ok(()),
        },
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => Err(ParseError::EventName),
    }
}

fn object(data: Option<ByteString>) -> Result<Option<ByteString>, ParseError> {
    checked(data, |kind| kind == Kind::Object)
}

fn string_or_object(data: Option<ByteString>) -> Result<Option<ByteString>, ParseError> {
    checked(data, |kind| matches!(kind, Kind::Object | Kind::String))
}

fn checked(data: Option<ByteString>, right: impl FnOnce(Kind) -> bool) -> Result<Option<ByteString>, ParseError> {
    let Some(data) = data else { return Ok(None) };
    json::check(&data).map_err(|_| ParseError::Payload)?;
    if right(Kind::of(data.trim_ascii_start())) { Ok(Some(data)) } else { Err(ParseError::Payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10;

    fn shown(text: &str) -> Result<String, ParseError> {
        let parsed = parse(&ByteString::from(text), MAX, Revision::V4)?;
        let id = |id: Option<AckId>| id.map_or(String::new(), |id| format!(" id {id}"));
        let data = |data: Option<ByteString>| data.map_or(String::new(), |data| format!(" {data}"));
        let missing = if parsed.missing > 0 { format!(" +{}", parsed.missing) } else { String::new() };
        let namespace = parsed.packet.namespace().as_str().to_owned();
        Ok(match parsed.packet {
            Packet::Connect { data: json, .. } => format!("CONNECT {namespace}{}", data(json)),
            Packet::Disconnect { .. } => format!("DISCONNECT {namespace}"),
            Packet::Event { id: n, args, .. } => format!("EVENT {namespace}{} {}{missing}", id(n), args.json()),
            Packet::Ack { id: n, args, .. } => format!("ACK {namespace}{} {}{missing}", id(n), args.json()),
            Packet::ConnectError { data: json, .. } => format!("CONNECT_ERROR {namespace}{}", data(json)),
        })
    }

    /// The decoder's truth table of revision 5, row by row.
    #[test]
    fn decodes_as_the_reference_does() {
        for (text, expected) in [
            ("0", "CONNECT /"),
            (r#"0{"token":"x"}"#, r#"CONNECT / {"token":"x"}"#),
            ("0/ns", "CONNECT /ns"),
            ("0/ns,", "CONNECT /ns"),
            (r#"0/ns,{"a":1}"#, r#"CONNECT /ns {"a":1}"#),
            ("1", "DISCONNECT /"),
            ("1/ns", "DISCONNECT /ns"),
            ("1/ns,", "DISCONNECT /ns"),
            (r#"2["a"]"#, r#"EVENT / ["a"]"#),
            ("2[1]", "EVENT / [1]"),
            (r#"2[""]"#, r#"EVENT / [""]"#),
            (r#"212["a"]"#, r#"EVENT / id 12 ["a"]"#),
            (r#"2/ns,12["a"]"#, r#"EVENT /ns id 12 ["a"]"#),
            (r#"20012["a"]"#, r#"EVENT / id 12 ["a"]"#),
            (r#"29007199254740991["a"]"#, r#"EVENT / id 9007199254740991 ["a"]"#),
            (r#"2/,["a"]"#, r#"EVENT / ["a"]"#),
            (r#"2/ns?x=1,["a"]"#, r#"EVENT /ns?x=1 ["a"]"#),
            (r#"2["error"]"#, r#"EVENT / ["error"]"#),
            (r#"2["__proto__"]"#, r#"EVENT / ["__proto__"]"#),
            (r#"2["a",{"__proto__":1}]"#, r#"EVENT / ["a",{"__proto__":1}]"#),
            (r#"2["\ud800"]"#, r#"EVENT / ["\ud800"]"#),
            (r#"2["a",{"_placeholder":true,"num":0}]"#, r#"EVENT / ["a",{"_placeholder":true,"num":0}]"#),
            ("3", "ACK / []"),
            ("31", "ACK / []"),
            ("3[]", "ACK / []"),
            ("31[]", "ACK / id 1 []"),
            (r#"31["a"]"#, r#"ACK / id 1 ["a"]"#),
            ("3/ns,1[]", "ACK /ns id 1 []"),
            ("4", "CONNECT_ERROR /"),
            (r#"4"x""#, r#"CONNECT_ERROR / "x""#),
            (r#"4{"message":"x"}"#, r#"CONNECT_ERROR / {"message":"x"}"#),
            (r#"51-["a",{"_placeholder":true,"num":0}]"#, r#"EVENT / ["a",{"_placeholder":true,"num":0}] +1"#),
            (r#"51-/ns,7["a"]"#, r#"EVENT /ns id 7 ["a"] +1"#),
            (r#"510-["a"]"#, r#"EVENT / ["a"] +10"#),
            (r#"61-/n,3["a"]"#, r#"ACK /n id 3 ["a"] +1"#),
        ] {
            assert_eq!(shown(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_reference_refuses_and_what_is_loose() {
        use ParseError as E;
        for (error, texts) in [
            (E::Type, vec!["", "7", "9", "a", "abc", "é"]),
            (
                E::Payload,
                vec![
                    "0[]",
                    "0null",
                    r#"0"x""#,
                    "0{}x",
                    "01",
                    "1{}",
                    "1[]",
                    "11",
                    "2",
                    "2/ns[\"a\"]",
                    "2[]",
                    "2{}",
                    r#"2"a""#,
                    r#"2 1["a"]"#,
                    r#"2-1["a"]"#,
                    r#"21.5["a"]"#,
                    r#"21e3["a"]"#,
                    r#"2,["a"]"#,
                    r#"2["a""#,
                    r#"2["a"]]"#,
                    r#"2/a,b,["a"]"#,
                    "31{}",
                    "4[]",
                    "41",
                    // With the `4` of Engine.IO still in front: a CONNECT_ERROR, and no binary ack.
                    r#"461-/n,3["a"]"#,
                    r#"2abc["a"]"#,
                    r#"2123456789012345678901["a"]"#,
                ],
            ),
            (E::AckId, vec![r#"29007199254740992["a"]"#, r#"29999999999999999["a"]"#]),
            (
                E::EventName,
                vec![
                    "2[null]",
                    "2[{}]",
                    "2[true]",
                    r#"2[["a"]]"#,
                    r#"2["connect"]"#,
                    r#"2["connect_error"]"#,
                    r#"2["disconnect"]"#,
                    r#"2["disconnecting"]"#,
                    r#"2["newListener"]"#,
                    r#"2["removeListener"]"#,
                    r#"2["\u0063onnect"]"#,
                    r#"2[{"toString":"x"}]"#,
                    r#"51-[{"_placeholder":true,"num":0}]"#,
                ],
            ),
            (E::TooManyAttachments, vec![r#"511-["a"]"#]),
            (
                E::Attachments,
                vec![
                    r#"5["a"]"#,
                    r#"5-["a"]"#,
                    r#"5-1["a"]"#,
                    r#"50-["a"]"#,
                    r#"51.5-["a"]"#,
                    r#"51e1-["a"]"#,
                    r#"5 1-["a"]"#,
                    r#"500000000001-["a"]"#,
                    r#"6["a"]"#,
                    r#"60-1["a"]"#,
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(shown(text), Err(error), "{text}");
            }
        }
    }
}
