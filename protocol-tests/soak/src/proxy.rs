//! A proxy that behaves like a bad network: it delays, splits at odd places, merges, and cuts.

use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::wire::{Route, connect};

/// Pieces of a connection that are small; more of them would only take time.
const SMALL_PIECES: usize = 40;

/// The faults of one direction of a connection.
struct Weather {
    /// The largest piece, in bytes.
    piece: usize,
    /// The longest delay of a piece, in milliseconds.
    delay_ms: u64,
    /// The connection is cut after this many bytes.
    cut: usize,
}

impl Weather {
    fn random(rng: &mut StdRng) -> Self {
        Self {
            piece: [1, 7, 130, 2_000, 64_000][rng.random_range(0..5)],
            delay_ms: [0, 0, 3, 30, 150][rng.random_range(0..5)],
            cut: if rng.random_ratio(1, 4) { rng.random_range(0..20_000) } else { usize::MAX },
        }
    }
}

/// Accepts and relays connections, for ever.
pub async fn run(listener: TcpListener, server: SocketAddr, mut rng: StdRng) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let seed = rng.random();
                connections.spawn(relay(stream, server, StdRng::seed_from_u64(seed)));
            }
            Some(_) = connections.join_next() => (),
        }
    }
}

async fn relay(client: TcpStream, server: SocketAddr, mut rng: StdRng) {
    let from = Ipv4Addr::new(127, 0, 2, rng.random_range(1..=4));
    let Ok(upstream) = connect(Route { from, to: server }).await else { return };
    if rng.random() {
        // The connection will end with RSTs.
        let _ = (client.set_zero_linger(), upstream.set_zero_linger());
    }
    let (there, back) = (Weather::random(&mut rng), Weather::random(&mut rng));
    let (seed, other_seed) = (rng.random(), rng.random());
    let (client_reader, client_writer) = client.into_split();
    let (server_reader, server_writer) = upstream.into_split();
    // The first direction that ends also ends the other: half-open connections are rare, and cuts are wanted here.
    tokio::select! {
        _ = carry(client_reader, server_writer, there, StdRng::seed_from_u64(seed)) => (),
        _ = carry(server_reader, client_writer, back, StdRng::seed_from_u64(other_seed)) => (),
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: Weather, mut rng: StdRng) -> Result<()> {
    let mut buffer = vec![0; 16 << 10];
    for number in 0.. {
        let most = if number < SMALL_PIECES { weather.piece.min(buffer.len()) } else { buffer.len() };
        let mut read = from.read(&mut buffer[..most]).await?;
        if weather.delay_ms > 0 {
            sleep(Duration::from_millis(rng.random_range(0..=weather.delay_ms))).await;
            // Bytes that arrived meanwhile join this piece.
            read += from.try_read(&mut buffer[read..]).unwrap_or_default();
        }
        let last = read.min(weather.cut);
        to.write_all(&buffer[..last]).await?;
        weather.cut -= last;
        if read == 0 || weather.cut == 0 {
            return Ok(());
        }
    }
    Ok(())
}
