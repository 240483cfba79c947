//! The server as the product's `main.rs` starts it, but with an allocator that counts. At each SIGUSR1 it prints the number of
//! bytes that are live on its heap. `scripts/soak --heap` runs it.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut asked = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            let so_far = ALLOCATOR.stats();
            println!("{}", so_far.bytes_allocated - so_far.bytes_deallocated);
        }
    });
    micro::server::run(|address| println!("ready at http://{address} and counts its heap")).await
}
