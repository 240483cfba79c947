//! Events, acks and `auth` as values of serde's types, for hosts that do not write JSON by hand. These methods carry no binary
//! data, which travels as attachments, with [`Encoded`] and [`Answer`].

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Error;

use super::host::{ClientEvent, Connect, Host, Reaction, Socket};
use super::mailbox::Undelivered;
use crate::proto::engine_io::Space;
use crate::proto::socket_io::connection::{Answer, Awaited};
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, Namespace};

/// Why an event was not emitted.
#[derive(Debug)]
pub enum EmitError {
    /// The value cannot be written as JSON: a map has keys that are no strings, or the type's own code fails.
    Json(Error),
    /// The event did not reach the session's task.
    Undelivered(Undelivered),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the event's data cannot be written as JSON: {error}"),
            Self::Undelivered(Undelivered::Full) => f.write_str("too many commands wait for the client's session"),
            Self::Undelivered(Undelivered::Closed) => f.write_str("the client's session has ended"),
        }
    }
}

impl std::error::Error for EmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Undelivered(_) => None,
        }
    }
}

impl<H: Host> Socket<H> {
    /// Emits an event with one argument, as `socket.emit(name, data)` of the official server does. See [`Self::emit`].
    ///
    /// # Errors
    /// - [`EmitError::Json`]: `data` cannot be written as JSON.
    /// - [`EmitError::Undelivered`]: as [`Self::emit`].
    pub fn emit_json<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), EmitError> {
        let packet = event(self.namespace(), None, name, data).map_err(EmitError::Json)?;
        self.emit(packet, None).map_err(EmitError::Undelivered)
    }

    /// Emits an event with one argument, whose ack the waiter gets in [`Host::acked`]. While the client has yet to acknowledge an
    /// event, another event with the same id is not sent; its waiter gets [`AckError::DuplicateId`].
    ///
    /// [`AckError::DuplicateId`]: super::AckError::DuplicateId
    ///
    /// # Errors
    /// As [`Self::emit_json`]. The waiter is dropped then.
    pub fn ask_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        data: &T,
        id: AckId,
        awaited: Awaited<H::Waiter>,
    ) -> Result<(), EmitError> {
        let packet = event(self.namespace(), Some(id), name, data).map_err(EmitError::Json)?;
        self.emit(packet, Some(awaited)).map_err(EmitError::Undelivered)
    }
}

impl<H: Host> Reaction<'_, H> {
    /// Emits an event with one argument, which wants no ack. See [`Self::emit`].
    ///
    /// # Errors
    /// When `data` cannot be written as JSON. Nothing is sent then.
    pub fn emit_json<T: Serialize + ?Sized>(&mut self, name: &str, data: &T) -> Result<(), Error> {
        let packet = event(self.namespace, None, name, data)?;
        self.emit(packet);
        Ok(())
    }

    /// Acknowledges the event of this id with one argument.
    ///
    /// # Errors
    /// When `data` cannot be written as JSON. Nothing is sent then.
    pub fn ack_json<T: Serialize + ?Sized>(&mut self, id: AckId, data: &T) -> Result<(), Error> {
        let json = serde_json::to_string(&(data,))?;
        let args = Args::parse(json.into()).expect("serde_json writes JSON, and a tuple as an array");
        self.ack(id, Answer { args, attachments: Vec::new() });
        Ok(())
    }
}

impl ClientEvent {
    /// Reads an argument; 0 is the first one behind the event's name. An argument that the client left out is read as `null`.
    ///
    /// # Errors
    /// When the argument is not a `T`, or has text that is not Unicode.
    pub fn argument<T: DeserializeOwned>(&self, index: usize) -> Result<T, Error> {
        serde_json::from_str(index.checked_add(1).and_then(|index| self.args.get(index)).unwrap_or("null"))
    }
}

impl Answer {
    /// Reads an argument of the ack; 0 is the first. An argument that the client left out is read as `null`.
    ///
    /// # Errors
    /// When the argument is not a `T`, or has text that is not Unicode.
    pub fn argument<T: DeserializeOwned>(&self, index: usize) -> Result<T, Error> {
        serde_json::from_str(self.args.get(index).unwrap_or("null"))
    }
}

impl Connect {
    /// Reads the client's `auth`, and `{}` where the client sent none, as those of revision 3 never do.
    ///
    /// # Errors
    /// When `auth` is not a `T`, or has text that is not Unicode.
    pub fn auth_json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.auth.as_deref().unwrap_or("{}"))
    }
}

fn event<T: Serialize + ?Sized>(
    namespace: &Namespace,
    id: Option<AckId>,
    name: &str,
    data: &T,
) -> Result<Encoded, Error> {
    let json = serde_json::to_string(&(name, data))?;
    let mut event = Encoded::begin(namespace, id, Vec::new(), Space::New(json.len()));
    event.json().push_str(&json);
    Ok(event.finish())
}
