//! A TCP proxy that is a long or narrow line.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// A line between an end and the server. It ends with the test.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

/// What a line does to each direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    /// The time of a byte on its way.
    pub(crate) delay: Duration,
    /// Bytes in a second.
    pub(crate) rate: u64,
    /// Bytes that are on their way at once; more wait at the sender.
    pub(crate) holds: usize,
}

impl Quality {
    /// A fast line of this round trip.
    pub(crate) fn long(round_trip: Duration) -> Self {
        Self { delay: round_trip / 2, rate: 1 << 30, holds: 16 << 20 }
    }

    /// A short line of this many bits in a second.
    pub(crate) fn narrow(bits: u64) -> Self {
        Self { delay: Duration::from_millis(5), rate: bits / 8, holds: 32 << 10 }
    }
}

impl Line {
    pub(crate) async fn to(server: SocketAddr, quality: Quality) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Otherwise the system would hold megabytes in front of a narrow line.
        let limit = move |stream: socket2::SockRef<'_>| stream.set_recv_buffer_size(quality.holds).unwrap();
        limit((&listener).into());
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(server).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                limit((&far).into());
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, quality));
                tokio::spawn(carry(far_read, near_write, quality));
            }
        });
        Self { address, task }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, quality: Quality) {
    const PIECE: usize = 16 << 10;
    let (sender, mut waiting) = mpsc::channel::<(Instant, Bytes)>((quality.holds / PIECE).max(2));
    let reading = async {
        // When the line is free again.
        let mut free = Instant::now();
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            free = free.max(Instant::now()) + Duration::from_secs_f64(count as f64 / quality.rate as f64);
            if sender.send((free + quality.delay, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                break;
            }
        }
        drop(sender);
    };
    let writing = async {
        while let Some((due, bytes)) = waiting.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reading, writing);
}
