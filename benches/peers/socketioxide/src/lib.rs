//! The same server made of the usual crates: axum and socketioxide. It passes the body of a request on as a string, which is
//! cheaper than parsing JSON.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use dashmap::DashMap;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler as _;

/// The limit of a message, in bytes: enough for the largest answer of the bench. The crate's default is 100 kB.
const MAX_BYTES: usize = 16 << 20;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The tokens, each with its end once one has joined.
type Tokens = Arc<DashMap<String, Option<SocketRef>>>;

/// Serves on a free loopback port, and prints the address.
pub async fn serve() {
    let tokens = Tokens::default();
    let (layer, io) = SocketIo::builder()
        .ack_timeout(ANSWER_TIMEOUT)
        .max_payload(MAX_BYTES as u64)
        .ws_max_frame_size(MAX_BYTES)
        .ws_max_message_size(MAX_BYTES)
        .build_layer();
    let known = tokens.clone();
    let check = move |socket: SocketRef| {
        let known = known.contains_key(token_of(&socket));
        async move { if known { Ok(()) } else { Err("unknown token") } }
    };
    let joined = tokens.clone();
    let join = move |socket: SocketRef| {
        let left = joined.clone();
        socket.on_disconnect(async move |socket: SocketRef| {
            if let Some(mut entry) = left.get_mut(token_of(&socket)) {
                entry.take_if(|current| current.id == socket.id);
            }
        });
        let token = token_of(&socket).to_owned();
        if let Some(mut entry) = joined.get_mut(&token) {
            *entry = Some(socket);
        }
        async {}
    };
    io.dyn_ns("/{token}", join.with(check)).expect("a valid pattern");

    let router = Router::new()
        .route("/new", get(new))
        .route("/go/{token}/{*rest}", any(go))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(tokens)
        .layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on {}", listener.local_addr().expect("an address"));
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.expect("serving never ends");
}

fn token_of(socket: &SocketRef) -> &str {
    socket.ns().trim_start_matches('/')
}

async fn new(State(tokens): State<Tokens>) -> String {
    let token = format!("{:032x}", rand::random::<u128>());
    tokens.insert(token.clone(), None);
    token
}

async fn go(
    State(tokens): State<Tokens>,
    Path((token, _)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let socket = match tokens.get(&token).map(|entry| entry.clone()) {
        None => return StatusCode::NOT_FOUND.into_response(),
        Some(None) => return StatusCode::BAD_GATEWAY.into_response(),
        Some(Some(socket)) => socket,
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let request = Request {
        headers: Headers(&headers),
        method: method.as_str(),
        url: &path["/go/".len() + token.len()..],
        query,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let Ok(ack) = socket.emit_with_ack::<_, (u16, Reply, HashMap<String, String>)>("request", &request) else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let Ok((status, reply, headers)) = ack.await else { return StatusCode::GATEWAY_TIMEOUT.into_response() };
    let mut response = Response::new(match reply {
        Reply::Text(text) => Body::from(text),
        Reply::Bytes(bytes) => Body::from(bytes),
        Reply::Json(value) => Body::from(value.to_string()),
    });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[derive(Serialize)]
struct Request<'a> {
    headers: Headers<'a>,
    method: &'a str,
    url: &'a str,
    query: HashMap<String, String>,
    body: String,
}

struct Headers<'a>(&'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name.as_str(), value.to_str().unwrap_or(""))?;
        }
        map.end()
    }
}

/// The body of an answer. Deserialized by hand, because a derived implementation would copy everything once more.
enum Reply {
    Text(String),
    Bytes(Vec<u8>),
    Json(Value),
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReplyVisitor;

        impl<'de> Visitor<'de> for ReplyVisitor {
            type Value = Reply;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a body")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reply, E> {
                Ok(Reply::Text(text.into()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Reply, E> {
                Ok(Reply::Text(text))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Reply, E> {
                Ok(Reply::Bytes(bytes.into()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Reply, E> {
                Ok(Reply::Bytes(bytes))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Reply, A::Error> {
                Value::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Reply::Json)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Reply, A::Error> {
                Value::deserialize(de::value::MapAccessDeserializer::new(map)).map(Reply::Json)
            }
        }

        deserializer.deserialize_any(ReplyVisitor)
    }
}
