//! With mimalloc: a sixth less CPU time for a small GET than with the system's allocator.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    peer_socketioxide::serve().await;
}
