//! The server as the product's `main.rs` starts it, but with the system's allocator, which dhat can observe.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    micro::server::run(|address| println!("ready at {address}")).await
}
