//! Puts a packet and its binary messages together (PROTOCOL.md, "Attachments").
//!
//! The arguments keep their placeholders, `{"_placeholder":true,"num":N}`; this checks that each names an attachment.

use std::ops::Range;

use bytes::Bytes;

use super::packet::Packet;
use super::parser::{ParseError, Parsed};
use crate::proto::json::{self, Event, Kind};

/// The packet that is being put together, if there is one. Idle sessions have no room for it.
#[derive(Debug, Default)]
pub struct Assembly(Option<Box<Partial>>);

#[derive(Debug)]
struct Partial {
    packet: Packet,
    /// The size of its text.
    text: usize,
    missing: usize,
    bytes: usize,
    collected: Vec<Bytes>,
    /// The attachments are over the limit: they are counted and dropped.
    oversized: bool,
}

/// A packet that is complete.
#[derive(Debug, PartialEq, Eq)]
pub enum Whole {
    /// With all its attachments.
    Packet(Packet),
    /// Its attachments went over the limit and are gone.
    Oversized(Packet),
}

impl Assembly {
    /// Whether binary messages are due.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.is_some()
    }

    /// What was collected of the packet, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.text + if partial.oversized { 0 } else { partial.bytes })
    }

    /// Takes a packet's text; gives it back at once when nothing is missing.
    ///
    /// # Errors
    /// When the packet before it is not complete.
    pub fn begin(&mut self, parsed: Parsed) -> Result<Option<Whole>, ParseError> {
        if self.is_waiting() {
            return Err(ParseError::Attachments);
        }
        if parsed.missing == 0 {
            return Ok(Some(Whole::Packet(parsed.packet)));
        }
        self.0 = Some(Box::new(Partial {
            text: match &parsed.packet {
                Packet::Event { args, .. } | Packet::Ack { args, .. } => args.json().len(),
                Packet::Connect { .. } | Packet::Disconnect { .. } | Packet::ConnectError { .. } => 0,
            },
            packet: parsed.packet,
            missing: parsed.missing,
            bytes: 0,
            collected: Vec::new(),
            oversized: false,
        }));
        Ok(None)
    }

    /// From now on the packet's attachments are dropped as they come, and so is what it had.
    pub fn give_up(&mut self) {
        if let Some(partial) = &mut self.0 {
            partial.oversized = true;
            partial.collected.clear();
        }
    }

    /// Takes a binary message; gives the packet once it is complete. `max_bytes` bounds the sum of its attachments,
    /// `max_depth` where their placeholders may be.
    ///
    /// # Errors
    /// When none is due, or when a placeholder names none of the attachments.
    pub fn attach(&mut self, data: Bytes, max_bytes: usize, max_depth: usize) -> Result<Option<Whole>, ParseError> {
        let mut partial = self.0.take().ok_or(ParseError::Attachments)?;
        partial.missing -= 1;
        partial.bytes = partial.bytes.saturating_add(data.len());
        if partial.bytes > max_bytes {
            partial.oversized = true;
            partial.collected.clear();
        }
        if !partial.oversized {
            partial.collected.push(data);
        }
        if partial.missing > 0 {
            self.0 = Some(partial);
            return Ok(None);
        }
        let mut packet = partial.packet;
        if partial.oversized {
            return Ok(Some(Whole::Oversized(packet)));
        }
        if let Packet::Event { args, attachments, .. } | Packet::Ack { args, attachments, .. } = &mut packet {
            placeholders(args.json(), partial.collected.len(), max_depth)?;
            *attachments = partial.collected;
        }
        Ok(Some(Whole::Packet(packet)))
    }
}

/// The placeholders of a JSON text and the attachment each stands for, in the order they are written. Only here does depth
/// take memory, so only here it is bounded.
///
/// # Errors
/// When one names an attachment that is not among the `count` there are (CVE-2022-2421), or something is nested deeper than
/// `max_depth`.
pub fn placeholders(text: &str, count: usize, max_depth: usize) -> Result<Vec<(Range<usize>, usize)>, ParseError> {
    let mut found = Vec::new();
    let mut open: Vec<Candidate> = Vec::new();
    let mut wrong = false;
    let scanned = json::scan(text, |depth, event| match event {
        Event::Open(kind, start) => {
            wrong |= depth > max_depth;
            if !wrong {
                open.push(Candidate { start, kind, key: 0..0, marked: false, number: None });
            }
        }
        Event::Key(range) => {
            if let Some(object) = open.last_mut() {
                object.key = range;
            }
        }
        Event::Scalar(range) => {
            if let Some(object) = open.last_mut().filter(|object| object.kind == Kind::Object) {
                object.member(text, &text[range]);
            }
        }
        Event::Close(end) => {
            if let Some(object) = open.pop().filter(|object| object.marked) {
                match object.number.filter(|&number| number < count) {
                    Some(number) => found.push((object.start..end, number)),
                    None => wrong = true,
                }
            }
        }
    });
    if wrong || scanned.is_err() { Err(ParseError::Attachments) } else { Ok(found) }
}

/// An object or array that is open, and what makes it a placeholder so far.
struct Candidate {
    start: usize,
    kind: Kind,
    key: Range<usize>,
    marked: bool,
    number: Option<usize>,
}

impl Candidate {
    fn member(&mut self, text: &str, value: &str) {
        match &*json::unquote(&text[self.key.clone()]) {
            // Exactly `true`: with anything else it is an ordinary object.
            "_placeholder" => self.marked = value == "true",
            "num" => self.number = value.parse().ok(),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::super::parser::parse;
    use super::*;
    use crate::proto::engine_io::Revision;

    const MAX_DEPTH: usize = 512;
    const PH0: &str = r#"{"_placeholder":true,"num":0}"#;
    const PH1: &str = r#"{"_placeholder":true,"num":1}"#;

    /// Feeds a text and then binary messages; gives the attachments of the packet.
    fn assemble(text: &str, binaries: &[&'static [u8]]) -> Result<Vec<Bytes>, ParseError> {
        let mut assembly = Assembly::default();
        let mut whole = assembly.begin(parse(&ByteString::from(text), 10, Revision::V4)?)?;
        for data in binaries {
            whole = assembly.attach(Bytes::from_static(data), 1_000, MAX_DEPTH)?;
        }
        match whole {
            Some(Whole::Packet(Packet::Event { attachments, .. } | Packet::Ack { attachments, .. })) => Ok(attachments),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The rows of the table of sequences.
    #[test]
    fn assembles_as_the_reference_does() {
        for (text, binaries) in [
            (format!(r#"51-["a",{PH0}]"#), vec![&b"1"[..]]),
            (format!(r#"52-["a",{PH1},{PH0}]"#), vec![b"1", b"2"]),
            (format!(r#"52-["a",{PH0}]"#), vec![b"1", b"2"]),
            (r#"51-["a"]"#.to_owned(), vec![b"1"]),
            (format!(r#"51-["a",{PH0},{PH0}]"#), vec![b"1"]),
            (r#"51-["a",{"_placeholder":1,"num":9}]"#.to_owned(), vec![b"1"]),
            (r#"51-["a",{"_placeholder":"true","num":9}]"#.to_owned(), vec![b"1"]),
            (r#"51-["a",{"x":[],"num":0,"y":{},"_placeholder":true}]"#.to_owned(), vec![b"1"]),
            (r#"61-7[200,{"_placeholder":true,"num":0}]"#.to_owned(), vec![b"1"]),
            (format!(r#"2["a",{PH0}]"#), vec![]),
        ] {
            assert_eq!(
                assemble(&text, &binaries),
                Ok(binaries.iter().map(|b| Bytes::from_static(b)).collect()),
                "{text}"
            );
        }
        for number in ["1", "-1", "\"0\"", "0.5", "null", "1e0", "99999999999999999999999"] {
            let text = format!(r#"51-["a",{{"_placeholder":true,"num":{number}}}]"#);
            assert_eq!(assemble(&text, &[b"1"]), Err(ParseError::Attachments), "{text}");
        }
        let missing = r#"51-["a",[{"_placeholder":true}]]"#;
        assert_eq!(assemble(missing, &[b"1"]), Err(ParseError::Attachments));
        assert_eq!(assemble(r#"2["a"]"#, &[b"1"]), Err(ParseError::Attachments), "none is due");
    }

    #[test]
    fn no_text_comes_between() {
        let mut assembly = Assembly::default();
        let text = |text: &str| parse(&ByteString::from(text), 10, Revision::V4).unwrap();
        assert_eq!(assembly.begin(text(r#"51-["a"]"#)), Ok(None));
        assert_eq!(assembly.begin(text(r#"2["b"]"#)), Err(ParseError::Attachments));
    }

    #[test]
    fn drops_attachments_over_the_limit() {
        let mut assembly = Assembly::default();
        let parsed = parse(&ByteString::from(r#"62-7["a"]"#), 10, Revision::V4).unwrap();
        assert_eq!(assembly.begin(parsed), Ok(None));
        assert_eq!(assembly.attach(Bytes::from_static(b"123"), 2, MAX_DEPTH), Ok(None));
        assert!(matches!(assembly.attach(Bytes::from_static(b"1"), 2, MAX_DEPTH), Ok(Some(Whole::Oversized(_)))));
        assert!(!assembly.is_waiting());
    }

    #[test]
    fn bounds_the_depth_of_what_it_remembers() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(placeholders(&deep, 1, MAX_DEPTH), Err(ParseError::Attachments));
        assert_eq!(placeholders(&format!(r#"[{{"a":{PH0}}}]"#), 1, MAX_DEPTH), Ok(vec![(6..35, 0)]));
    }
}
