//! One Socket.IO packet (PROTOCOL.md, "Socket.IO packets").

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use super::namespace::Namespace;
use crate::proto::engine_io::message::{Outgoing, Space, TextWriter};
use crate::proto::json::{self, Invalid};

/// The largest ack id: the largest exact integer of JavaScript.
pub const MAX_ACK_ID: u64 = (1 << 53) - 1;

/// The number that joins an event to its ack, at most [`MAX_ACK_ID`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckId(u64);

impl AckId {
    /// Returns the id of this number, if it is in range.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number <= MAX_ACK_ID).then_some(Self(number))
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A JSON array, checked and cut into its elements, which stay as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    json: ByteString,
    count: usize,
    /// Where the first four elements stand. Further ones are looked for when asked for, so that a packet with a million
    /// elements takes no memory for them.
    first: [Range<usize>; 4],
    /// The text of one element without its escapes, and the element's index.
    unescaped: Option<(usize, Bytes)>,
}

impl Args {
    /// Reads a JSON array.
    ///
    /// # Errors
    /// When the text is not a JSON array.
    pub fn parse(json: ByteString) -> Result<Self, Invalid> {
        let mut args = Self::empty();
        json::for_each_element(&json, |element| args.push(element))?;
        Ok(Self { json, ..args })
    }

    /// Reads a JSON array, and unescapes a long string in passing, whose [text](Self::text) will be wanted.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_unescaping(json: ByteString) -> Result<Self, Invalid> {
        let mut args = Self::empty();
        json::for_each_element_unescaping(&json, |element, unescaped| {
            args.unescaped = unescaped.map(|text| (args.count, text.into())).or(args.unescaped.take());
            args.push(element);
        })?;
        Ok(Self { json, ..args })
    }

    fn push(&mut self, element: Range<usize>) {
        if let Some(place) = self.first.get_mut(self.count) {
            *place = element;
        }
        self.count += 1;
    }

    /// Returns the array without elements.
    #[must_use]
    pub fn empty() -> Self {
        Self { json: ByteString::from_static("[]"), count: 0, first: [const { 0..0 }; 4], unescaped: None }
    }

    /// Returns how many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the JSON of an element.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        if index >= self.count {
            return None;
        }
        let range = match self.first.get(index) {
            Some(range) => range.clone(),
            None => json::elements(&self.json).ok()?.into_iter().nth(index)?,
        };
        Some(&self.json[range])
    }

    /// Returns the text of an element that is a string, without its escapes, as UTF-8. See [`json::unquote`].
    #[must_use]
    pub fn text(&self, index: usize) -> Option<Bytes> {
        if let Some((place, text)) = &self.unescaped
            && *place == index
        {
            return Some(text.clone());
        }
        let inner = json::without_quotes(self.get(index)?);
        Some(json::unescape(inner).map_or_else(|| self.json.slice_ref(inner).into_bytes(), Bytes::from))
    }

    /// Returns a copy that does not hold on to the message the array came in.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { json: ByteString::from(&*self.json), ..self }
    }

    /// Returns the size of what is kept, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.json.len() + self.unescaped.as_ref().map_or(0, |(_, text)| text.len())
    }

    /// Returns the JSON of the whole array.
    #[must_use]
    pub fn json(&self) -> &ByteString {
        &self.json
    }
}

/// A packet. The `data` of a `Connect` or `ConnectError` is JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 0: a client asks to join, with its `auth`; a server agrees, with the socket's id.
    Connect {
        /// The namespace.
        namespace: Namespace,
        /// A JSON object.
        data: Option<ByteString>,
    },
    /// 1: a client leaves, or a server makes it leave.
    Disconnect {
        /// The namespace.
        namespace: Namespace,
    },
    /// 2, or 5 with attachments: an event.
    Event {
        /// The namespace.
        namespace: Namespace,
        /// Set when the sender wants an ack.
        id: Option<AckId>,
        /// The name and the arguments.
        args: Args,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
    },
    /// 3, or 6 with attachments: an ack.
    Ack {
        /// The namespace.
        namespace: Namespace,
        /// The id of the event that the ack answers. An ack without id or data answers nothing; the reference ignores
        /// it.
        id: Option<AckId>,
        /// The arguments.
        args: Args,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
    },
    /// 4: a server refuses a join.
    ConnectError {
        /// The namespace.
        namespace: Namespace,
        /// `{"message":…}`, or in revision 3 a string.
        data: Option<ByteString>,
    },
}

impl Packet {
    /// Returns the namespace that the packet belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Connect { namespace, .. }
            | Self::Disconnect { namespace }
            | Self::Event { namespace, .. }
            | Self::Ack { namespace, .. }
            | Self::ConnectError { namespace, .. } => namespace,
        }
    }

    /// Returns a copy of an event or ack that does not hold on to the message it came in. No other packet waits for anything.
    #[must_use]
    pub fn detached(self) -> Self {
        match self {
            Self::Event { namespace, id, args, attachments } => {
                Self::Event { namespace: namespace.detached(), id, args: args.detached(), attachments }
            }
            Self::Ack { namespace, id, args, attachments } => {
                Self::Ack { namespace: namespace.detached(), id, args: args.detached(), attachments }
            }
            packet @ (Self::Connect { .. } | Self::Disconnect { .. } | Self::ConnectError { .. }) => packet,
        }
    }

    /// Returns the packet's text, and the binary messages that must follow at once.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        match self {
            Self::Connect { namespace, data } => encode_plain('0', namespace, data.as_deref()),
            Self::Disconnect { namespace } => encode_plain('1', namespace, None),
            Self::Event { namespace, id, args, attachments } => {
                let mut event = Encoded::begin(namespace, *id, attachments.clone(), Space::New(args.json.len()));
                event.json().push_str(&args.json);
                event.finish()
            }
            Self::Ack { namespace, id, args, attachments } => {
                let kind = if attachments.is_empty() { '3' } else { '6' };
                let mut text = begin(kind, namespace, *id, attachments, Space::New(args.json.len()));
                text.text().push_str(&args.json);
                Encoded { text: text.finish(), attachments: attachments.clone(), id: None }
            }
            Self::ConnectError { namespace, data } => encode_plain('4', namespace, data.as_deref()),
        }
    }
}

/// Encodes a packet without id and attachments.
fn encode_plain(kind: char, namespace: &Namespace, data: Option<&str>) -> Encoded {
    let data = data.unwrap_or_default();
    let mut text = begin(kind, namespace, None, &[], Space::New(data.len()));
    text.text().push_str(data);
    Encoded { text: text.finish(), attachments: Vec::new(), id: None }
}

/// Begins a packet's text with everything that stands in front of its JSON. The size of the space is that of the JSON.
fn begin<'s>(
    kind: char,
    namespace: &Namespace,
    id: Option<AckId>,
    attachments: &[Bytes],
    space: Space<'s>,
) -> TextWriter<'s> {
    let mut writer = TextWriter::begin(match space {
        // The type, the attachments, the comma and the id take 1 + 4 + 1 + 16 bytes at the most.
        Space::New(size) => Space::New(22 + namespace.as_str().len() + size),
        Space::Scratch(scratch) => Space::Scratch(scratch),
    });
    let text = writer.text();
    text.push(kind);
    if !attachments.is_empty() {
        text.push_str(itoa::Buffer::new().format(attachments.len()));
        text.push('-');
    }
    namespace.write(text);
    if let Some(id) = id {
        text.push_str(itoa::Buffer::new().format(id.0));
    }
    writer
}

/// Returns a packet's text in ASCII, except for the namespace, which no client decodes. Nobody joins a namespace that
/// is not ASCII in revision 3.
#[must_use]
pub fn to_ascii(text: &str) -> Cow<'_, str> {
    let before_namespace = text.find(|character: char| !character.is_ascii_digit() && character != '-');
    let name = before_namespace.filter(|&at| text[at..].starts_with('/'));
    let start = name.map_or(0, |at| text[at..].find(',').map_or(text.len(), |comma| at + comma));
    let (head, json) = text.split_at(start);
    match json::to_ascii(json) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(json) => Cow::Owned([head, &json].concat()),
    }
}

/// A packet in the form in which it is sent: one text message and its attachments, which belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The text message.
    pub text: Outgoing,
    /// The binary messages that follow it.
    pub attachments: Vec<Bytes>,
    /// The id that was written into the text of an event.
    id: Option<AckId>,
}

impl Encoded {
    /// Begins an event, whose JSON the caller writes. The size of the space is that of the JSON.
    #[must_use]
    pub fn begin<'s>(
        namespace: &Namespace,
        id: Option<AckId>,
        attachments: Vec<Bytes>,
        space: Space<'s>,
    ) -> EventWriter<'s> {
        let kind = if attachments.is_empty() { '2' } else { '5' };
        EventWriter { text: begin(kind, namespace, id, &attachments, space), attachments, id }
    }

    /// Returns the id of an event that asks for an ack. The id of an ack is not returned: nothing answers it.
    #[must_use]
    pub fn id(&self) -> Option<AckId> {
        self.id
    }

    /// Returns the size of the text and the attachments, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sizes().sum()
    }

    /// Always false: the text has at least the packet's type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the size of each message, in bytes.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        iter::once(self.text.len()).chain(self.attachments.iter().map(Bytes::len))
    }
}

/// An event that is being written.
#[derive(Debug)]
pub struct EventWriter<'s> {
    text: TextWriter<'s>,
    attachments: Vec<Bytes>,
    id: Option<AckId>,
}

impl EventWriter<'_> {
    /// Returns the text so far, to which the caller appends the arguments: a JSON array with the name in front.
    pub fn json(&mut self) -> &mut String {
        self.text.text()
    }

    /// Ends the event.
    #[must_use]
    pub fn finish(self) -> Encoded {
        Encoded { text: self.text.finish(), attachments: self.attachments, id: self.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_names_are_as_they_came() {
        for (text, expected) in [
            ("2[\"é\"]", "2[\"\\u00e9\"]"),
            ("2/t,12[\"é,😀\"]", "2/t,12[\"\\u00e9,\\ud83d\\ude00\"]"),
            ("51-/t,[\"é\"]", "51-/t,[\"\\u00e9\"]"),
            ("0", "0"),
            ("1/é,", "1/é,"),
            ("1/é", "1/é"),
            ("4/\"é\",\"é\"", "4/\"é\",\"\\u00e9\""),
        ] {
            assert_eq!(to_ascii(text), expected);
        }
    }
}
