//! A WebSocket in the hands of the engine: its peer always gets a close frame.

use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::net::websocket::WebSocket;

/// A WebSocket that carries a session, or may come to. However it is dropped, its peer gets a close frame, and
/// [`Engine::closed`](super::Engine::closed) waits until it has.
pub(super) struct SessionWebSocket {
    /// `None` once the close frame is on its way.
    websocket: Option<WebSocket>,
    /// The tasks that an engine waits for when it closes.
    tasks: TaskTracker,
}

impl SessionWebSocket {
    pub(super) fn new(websocket: WebSocket, tasks: &TaskTracker) -> Self {
        Self { websocket: Some(websocket), tasks: tasks.clone() }
    }

    /// Closes the WebSocket, with this code or without one.
    pub(super) fn farewell(mut self, code: Option<u16>) {
        self.end(code);
    }

    fn end(&mut self, code: Option<u16>) {
        let Some(websocket) = self.websocket.take() else { return };
        // A runtime that has ended runs no more tasks.
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(rest) = websocket.goodbye(code) {
            self.tasks.spawn_on(rest, &runtime);
        }
    }
}

impl Drop for SessionWebSocket {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Deref for SessionWebSocket {
    type Target = WebSocket;

    fn deref(&self) -> &WebSocket {
        self.websocket.as_ref().expect("only `farewell` and `drop` take it, after which nothing can be asked of it")
    }
}

impl DerefMut for SessionWebSocket {
    fn deref_mut(&mut self) -> &mut WebSocket {
        self.websocket.as_mut().expect("only `farewell` and `drop` take it, after which nothing can be asked of it")
    }
}
