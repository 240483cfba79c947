//! The smallest chat server: what one client says, all of them hear.
//!
//! Run `cargo run --features serde --example chat`, and connect to http://127.0.0.1:3000 with `auth: { name }`. Emit `say`
//! with a text and a callback, which gets the number of clients that hear it as `said`. Emit anything else to be disconnected.

use std::collections::HashMap;
use std::future::{Future, pending, ready};
use std::sync::{Mutex, MutexGuard};

use serde_json::json;
use socket2me::engine::{ClientEvent, Connect, DisconnectReason, Engine, Host, Reaction, Refusal, Socket, SocketIo};

/// The clients by their names.
#[derive(Default)]
struct Chat(Mutex<HashMap<String, Socket<Self>>>);

impl Chat {
    fn clients(&self) -> MutexGuard<'_, HashMap<String, Socket<Self>>> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl Host for Chat {
    type Member = String;
    type Waiter = ();
    type Message = ();

    fn connect(&self, request: Connect) -> impl Future<Output = Result<String, Refusal>> + Send + 'static {
        let mut auth: HashMap<String, String> = request.auth_json().unwrap_or_default();
        ready(auth.remove("name").ok_or_else(|| Refusal::new("who are you? connect with auth: { name }")))
    }

    fn connected(&self, name: &mut String, socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) {
        self.clients().insert(name.clone(), socket.clone()).inspect(Socket::disconnect);
        reaction.emit_json("welcome", &self.clients().len()).expect("a number is JSON");
    }

    fn received(&self, name: &mut String, socket: &Socket<Self>, event: ClientEvent, mut reaction: Reaction<'_, Self>) {
        let ("say", Some(id)) = (&*event.name(), event.id) else { return socket.disconnect() };
        let said = json!({ "name": name, "text": event.argument::<String>(0).unwrap_or_default() });
        // A client that does not keep up misses it.
        let heard = self.clients().values().filter(|client| client.emit_json("said", &said).is_ok()).count();
        reaction.ack_json(id, &heard).expect("a number is JSON");
    }

    fn disconnected(&self, name: String, socket: &Socket<Self>, _: DisconnectReason) {
        self.clients().retain(|known, client| *known != name || client != socket);
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let chat = SocketIo::new(Chat::default(), Default::default());
    Engine::new(chat, Default::default(), Default::default()).listen(listener, pending()).await;
    Ok(())
}
