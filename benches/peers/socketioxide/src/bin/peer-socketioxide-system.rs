//! With the system's allocator: a quarter less memory for an idle tunnel than with mimalloc.

#[tokio::main]
async fn main() {
    peer_socketioxide::serve().await;
}
