//! Puts a packet and its binary messages together (PROTOCOL.md, "Attachments").
//!
//! The arguments keep their placeholders, `{"_placeholder":true,"num":N}`; this checks that each names an attachment.

use std::ops::Range;

use bytes::Bytes;

use super::namespace::Namespace;
use super::packet::{AckId, Packet};
use super::parser::{Head, ParseError, Parsed};
use crate::proto::json::{self, Event, Kind};

/// The packet that is being put together, if there is one. It is in a box, so that idle sessions stay small.
#[derive(Debug, Default)]
pub struct Assembly(Option<Box<Partial>>);

#[derive(Debug)]
struct Partial {
    /// What is returned once nothing is missing. If its content was dropped, attachments are not collected.
    whole: Whole,
    /// How many attachments have not come yet.
    missing: usize,
    /// The size of the attachments that have come, in bytes.
    bytes: usize,
    collected: Vec<Bytes>,
}

/// A packet that is complete.
#[derive(Debug, PartialEq, Eq)]
pub enum Whole {
    /// The packet with all its attachments.
    Packet(Packet),
    /// An event or ack without its content.
    Dropped(Dropped),
}

/// What is left of an event or ack whose content was over a limit, or not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The packet's namespace.
    pub namespace: Namespace,
    /// The id of the event that the packet answers: set for an ack that has one.
    pub answers: Option<AckId>,
}

/// What the attachments of one packet may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The sum of their sizes, in bytes. Larger ones are dropped, and with them the packet's content.
    pub bytes: usize,
    /// How deep JSON may be nested around placeholders. Deeper is an error: each level takes memory while they are
    /// looked for.
    pub depth: usize,
}

impl Assembly {
    /// Whether binary messages are due.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the size of what was collected of the packet, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| match &partial.whole {
            Whole::Packet(packet) => text_bytes(packet) + partial.bytes,
            Whole::Dropped(dropped) => dropped.namespace.as_str().len(),
        })
    }

    /// Takes a packet's text, and returns the packet if no attachment is missing.
    ///
    /// # Errors
    /// When the packet before it is not complete.
    pub fn begin(&mut self, parsed: Parsed) -> Result<Option<Whole>, ParseError> {
        self.wait_for(Whole::Packet(parsed.packet), parsed.missing)
    }

    /// Takes a packet whose content was dropped: its attachments are dropped as they come.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_dropped(&mut self, dropped: Dropped, missing: usize) -> Result<Option<Whole>, ParseError> {
        self.wait_for(Whole::Dropped(dropped), missing)
    }

    /// Takes the start of a packet whose text is over a limit: its content is dropped, and its attachments as they come.
    ///
    /// # Errors
    /// - when the start is none of an event or ack: only those may be large
    /// - as [`Self::begin`]
    pub fn begin_oversized(&mut self, start: &str, max_attachments: usize) -> Result<Option<Whole>, ParseError> {
        let Head { kind, attachments, namespace, id, .. } = Head::parse(start, max_attachments)?;
        let answers = match kind {
            '2' | '5' => None,
            '3' | '6' => id,
            _ => return Err(ParseError::Payload),
        };
        let namespace = Namespace::new(namespace.into()).ok_or(ParseError::Payload)?;
        self.begin_dropped(Dropped { namespace, answers }, attachments)
    }

    fn wait_for(&mut self, whole: Whole, missing: usize) -> Result<Option<Whole>, ParseError> {
        if self.is_waiting() {
            return Err(ParseError::Attachments);
        }
        if missing == 0 {
            return Ok(Some(whole));
        }
        let whole = match whole {
            Whole::Packet(packet) => Whole::Packet(packet.detached()),
            dropped @ Whole::Dropped(_) => dropped,
        };
        self.0 = Some(Box::new(Partial { whole, missing, bytes: 0, collected: Vec::new() }));
        Ok(None)
    }

    /// Drops what was collected of the packet, and from now on its attachments as they come.
    pub fn give_up(&mut self) {
        if let Some(partial) = &mut self.0 {
            partial.give_up();
        }
    }

    /// Takes a binary message, and returns the packet once it is complete.
    ///
    /// # Errors
    /// When none is due, when a placeholder names none of the attachments, or when the JSON is nested too deep.
    pub fn attach(&mut self, data: Bytes, bounds: Bounds) -> Result<Option<Whole>, ParseError> {
        let mut partial = self.0.take().ok_or(ParseError::Attachments)?;
        partial.missing -= 1;
        partial.bytes = partial.bytes.saturating_add(data.len());
        if partial.bytes > bounds.bytes {
            partial.give_up();
        }
        if matches!(partial.whole, Whole::Packet(_)) {
            // What waits is copied: it may be a small part of a large polling body, of which only this part is counted.
            partial.collected.push(if partial.missing > 0 { Bytes::copy_from_slice(&data) } else { data });
        }
        if partial.missing > 0 {
            self.0 = Some(partial);
            return Ok(None);
        }
        let Partial { mut whole, collected, .. } = *partial;
        if let Whole::Packet(Packet::Event { args, attachments, .. } | Packet::Ack { args, attachments, .. }) =
            &mut whole
        {
            placeholders(args.json(), &collected, bounds.depth)?;
            *attachments = collected;
        }
        Ok(Some(whole))
    }
}

impl Partial {
    fn give_up(&mut self) {
        if let Whole::Packet(packet) = &self.whole {
            self.whole = Whole::Dropped(Dropped::of(packet));
            self.collected.clear();
        }
    }
}

/// Returns the size of what is kept of a packet's text, in bytes.
fn text_bytes(packet: &Packet) -> usize {
    packet.namespace().as_str().len()
        + match packet {
            Packet::Event { args, .. } | Packet::Ack { args, .. } => args.bytes(),
            Packet::Connect { .. } | Packet::Disconnect { .. } | Packet::ConnectError { .. } => 0,
        }
}

impl Dropped {
    /// Returns what is left of a packet. The namespace is copied, so that the packet's text can be freed.
    #[must_use]
    pub fn of(packet: &Packet) -> Self {
        let answers = match packet {
            Packet::Ack { id, .. } => *id,
            Packet::Event { .. } | Packet::Connect { .. } | Packet::Disconnect { .. } | Packet::ConnectError { .. } => {
                None
            }
        };
        Self { namespace: packet.namespace().detached(), answers }
    }
}

/// Finds the placeholders of a JSON text: where each stands, and the number of its attachment, in the order they are
/// written. What is inside a placeholder is none of it, and means nothing. Only here does depth take memory, so only here it is
/// bounded.
///
/// # Errors
/// When a placeholder names none of the attachments (CVE-2022-2421), or something is nested deeper than `max_depth`.
pub fn placeholders(
    text: &str,
    attachments: &[Bytes],
    max_depth: usize,
) -> Result<Vec<(Range<usize>, usize)>, ParseError> {
    let mut search =
        Search { text, count: attachments.len(), max_depth, open: Vec::new(), found: Vec::new(), too_deep: false };
    let scanned = json::scan(text, |depth, event| search.event(depth, event));
    if search.too_deep {
        return Err(ParseError::TooDeep);
    }
    if scanned.is_err() {
        return Err(ParseError::Attachments);
    }
    let named = |(range, number): (Range<usize>, Option<usize>)| Some((range, number?));
    search.found.into_iter().map(named).collect::<Option<_>>().ok_or(ParseError::Attachments)
}

/// The search for placeholders in a JSON text.
struct Search<'t> {
    text: &'t str,
    /// How many attachments there are.
    count: usize,
    max_depth: usize,
    /// The objects and arrays that are open, the innermost last.
    open: Vec<Candidate>,
    /// `None` in place of a number that is not that of an attachment.
    found: Vec<(Range<usize>, Option<usize>)>,
    too_deep: bool,
}

impl Search<'_> {
    fn event(&mut self, depth: usize, event: Event) {
        match event {
            Event::Open(kind, start) => {
                self.too_deep |= depth > self.max_depth;
                if !self.too_deep {
                    self.open.push(Candidate { start, kind, key: 0..0, marked: false, number: None });
                }
            }
            Event::Key(range) => {
                if let Some(object) = self.open.last_mut() {
                    object.key = range;
                }
            }
            Event::Scalar(range) => {
                if let Some(object) = self.open.last_mut().filter(|object| object.kind == Kind::Object) {
                    object.member(self.text, &self.text[range]);
                }
            }
            Event::Close(end) => {
                if let Some(object) = self.open.pop().filter(|object| object.marked) {
                    while self.found.pop_if(|(inside, _)| inside.start > object.start).is_some() {}
                    self.found.push((object.start..end, object.number.filter(|&number| number < self.count)));
                }
            }
        }
    }
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

    const BOUNDS: Bounds = Bounds { bytes: 1000, depth: 512 };
    const PH0: &str = r#"{"_placeholder":true,"num":0}"#;
    const PH1: &str = r#"{"_placeholder":true,"num":1}"#;

    /// Feeds a text and then binary messages; returns the attachments of the packet.
    fn assemble(text: &str, binaries: &[&'static [u8]]) -> Result<Vec<Bytes>, ParseError> {
        let mut assembly = Assembly::default();
        let mut whole = assembly.begin(parse(&ByteString::from(text), 10, Revision::V4)?)?;
        for data in binaries {
            whole = assembly.attach(Bytes::from_static(data), BOUNDS)?;
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
            // What is inside a placeholder means nothing.
            (r#"51-["a",{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":9}}]"#.to_owned(), vec![b"1"]),
            (r#"51-["a",{"x":[{"_placeholder":true,"num":0}],"num":0,"_placeholder":true}]"#.to_owned(), vec![b"1"]),
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
    fn text_between_attachments_is_refused() {
        let mut assembly = Assembly::default();
        let text = |text: &str| parse(&ByteString::from(text), 10, Revision::V4).unwrap();
        assert_eq!(assembly.begin(text(r#"51-["a"]"#)), Ok(None));
        assert_eq!(assembly.begin(text(r#"2["b"]"#)), Err(ParseError::Attachments));
    }

    #[test]
    fn what_waits_does_not_hold_on_to_the_body_it_came_in() {
        for text in [r#"52-/t,7["a",1]"#, r#"62-/t,7["a",1]"#] {
            let body = Bytes::from([text.as_bytes(), &[0; 10_000]].concat());
            let text = ByteString::try_from(body.slice(..text.len())).unwrap();
            let mut assembly = Assembly::default();
            assert_eq!(assembly.begin(parse(&text, 10, Revision::V4).unwrap()), Ok(None));
            drop(text);
            assert_eq!(assembly.attach(body.slice(5_000..5_100), BOUNDS), Ok(None));
            assert!(body.try_into_mut().is_ok(), "nobody else has it");
            assert_eq!(assembly.bytes(), "/t".len() + r#"["a",1]"#.len() + 100);
        }
    }

    #[test]
    fn drops_attachments_over_the_limit() {
        let mut assembly = Assembly::default();
        let bounds = Bounds { bytes: 2, ..BOUNDS };
        for (text, answers) in [(r#"62-/t,7["a"]"#, AckId::new(7)), (r#"52-/t,7["a"]"#, None)] {
            let parsed = parse(&ByteString::from(text), 10, Revision::V4).unwrap();
            assert_eq!(assembly.begin(parsed), Ok(None));
            assert_eq!(assembly.attach(Bytes::from_static(b"123"), bounds), Ok(None));
            assert_eq!(assembly.bytes(), "/t".len(), "only the name is kept");
            let namespace = Namespace::new("/t".into()).unwrap();
            let dropped = Whole::Dropped(Dropped { namespace, answers });
            assert_eq!(assembly.attach(Bytes::from_static(b"1"), bounds), Ok(Some(dropped)), "{text}");
            assert!(!assembly.is_waiting());
        }
    }

    #[test]
    fn bounds_the_depth_of_what_it_remembers() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let one = [Bytes::new()];
        assert_eq!(placeholders(&deep, &one, BOUNDS.depth), Err(ParseError::TooDeep));
        assert_eq!(placeholders(&format!(r#"[{{"a":{PH0}}}]"#), &one, BOUNDS.depth), Ok(vec![(6..35, 0)]));
    }

    #[test]
    fn placeholders_do_not_overlap() {
        let two = [Bytes::new(), Bytes::new()];
        let outer = format!(r#"{{"x":[{PH0},{{"y":{PH0}}}],"num":1,"_placeholder":true,"z":{PH0}}}"#);
        let text = format!("[{PH0},{outer},{PH0}]");
        let found = placeholders(&text, &two, BOUNDS.depth).unwrap();
        let found: Vec<_> = found.into_iter().map(|(range, number)| (&text[range], number)).collect();
        assert_eq!(found, [(PH0, 0), (outer.as_str(), 1), (PH0, 0)]);
    }
}
