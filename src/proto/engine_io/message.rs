//! The application's data: what the layer above sends and receives.

use bytes::Bytes;
use bytestring::ByteString;

use super::frame::Frame;
use super::revision::Revision;

/// The size in bytes below which a message keeps no spare memory.
const SMALL: usize = 4 << 10;

/// The type of a message as a byte, which stands in front of binary data in revision 3.
pub(super) const BINARY_MESSAGE: u8 = 4;

/// A message of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text, possibly empty.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Returns the size of the data in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether there is no data at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message ready to be sent. Text already has its packet's type in front, so that sending it copies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing(Frame);

impl Outgoing {
    /// Returns a text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut writer = TextWriter::begin(Space::New(text.len()));
        writer.text().push_str(text);
        writer.finish()
    }

    /// Returns a binary message.
    #[must_use]
    pub fn binary(data: Bytes) -> Self {
        Self(Frame::Binary(data))
    }

    /// Returns the data as the receiver sees it.
    #[must_use]
    pub fn message(&self) -> Message {
        match &self.0 {
            Frame::Text(packet) => Message::Text(packet.slice_ref(&packet[1..])),
            Frame::Binary(data) => Message::Binary(data.clone()),
        }
    }

    /// Returns the size in bytes on a WebSocket.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the message has no byte, which only a binary one can be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_frame(self, revision: Revision) -> Frame {
        match (self.0, revision) {
            (Frame::Binary(data), Revision::V3) => {
                let mut frame = Vec::with_capacity(1 + data.len());
                frame.push(BINARY_MESSAGE);
                frame.extend_from_slice(&data);
                Frame::Binary(frame.into())
            }
            (frame, Revision::V3 | Revision::V4) => frame,
        }
    }
}

impl From<&Message> for Outgoing {
    fn from(message: &Message) -> Self {
        match message {
            Message::Text(text) => Self::text(text),
            Message::Binary(data) => Self::binary(data.clone()),
        }
    }
}

/// Where a text message is written.
#[derive(Debug)]
pub enum Space<'s> {
    /// In memory of its own, with room for this many bytes before it grows.
    New(usize),
    /// In a buffer that is lent and overwritten. The finished message is copied to memory of its exact size, which is best
    /// for a small one whose size is not known before.
    Scratch(&'s mut String),
}

/// A text message that is being written.
#[derive(Debug)]
pub struct TextWriter<'s>(Buffer<'s>);

#[derive(Debug)]
enum Buffer<'s> {
    New(String),
    Scratch(&'s mut String),
}

impl<'s> TextWriter<'s> {
    /// Begins a message.
    #[must_use]
    pub fn begin(space: Space<'s>) -> Self {
        let mut writer = Self(match space {
            Space::New(size) => Buffer::New(String::with_capacity(1 + size)),
            Space::Scratch(scratch) => {
                scratch.clear();
                Buffer::Scratch(scratch)
            }
        });
        writer.text().push('4');
        writer
    }

    /// Returns the packet so far. The message is what is appended to it.
    pub fn text(&mut self) -> &mut String {
        match &mut self.0 {
            Buffer::New(text) => text,
            Buffer::Scratch(text) => text,
        }
    }

    /// Ends the message.
    #[must_use]
    pub fn finish(self) -> Outgoing {
        Outgoing(Frame::Text(match self.0 {
            Buffer::New(mut text) => {
                // `Bytes` allocates a header for text with spare capacity. Shrinking avoids that, but is not worth a
                // copy of a large text.
                if text.len() < SMALL {
                    text.shrink_to_fit();
                }
                ByteString::from(text)
            }
            Buffer::Scratch(text) => ByteString::from(text.as_str()),
        }))
    }
}
