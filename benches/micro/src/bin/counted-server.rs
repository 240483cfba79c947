//! The server as `src/main.rs` starts it, but with the system's allocator, which dhat can watch.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    micro::server::run(|address| println!("ready at {address}")).await
}
