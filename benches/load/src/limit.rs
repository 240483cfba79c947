//! An end of `limit-relay`: it receives `[id u32][head length u32][head][body]` and sends `[id u32][status u16][body]`.

use std::io;
use std::net::SocketAddr;

use crate::end::{Answer, Plan};
use crate::http::bad;
use crate::run::Run;
use crate::ws::{self, WebSocket};

pub async fn serve(
    number: usize,
    to: SocketAddr,
    token: &str,
    plan: &Plan,
    run: &Run,
    on_join: impl FnOnce(),
) -> io::Result<()> {
    let mut socket = WebSocket::open(number, to, &format!("/tunnel/{token}")).await?;
    on_join();
    loop {
        socket.messages(|_, message, out| {
            let (id, rest) = message.split_first_chunk::<4>().ok_or_else(|| bad("short message"))?;
            let (head_length, rest) = rest.split_first_chunk().ok_or_else(|| bad("short message"))?;
            let body = match &plan.answer {
                Answer::Echo => {
                    rest.get(u32::from_be_bytes(*head_length) as usize..).ok_or_else(|| bad("short head"))?
                }
                Answer::Text { plain, .. } => plain,
                Answer::Binary(data) => data,
            };
            ws::frame(out, ws::BINARY, &[id, &200u16.to_be_bytes(), body]);
            run.answered(1);
            Ok(())
        })?;
        socket.turn().await?;
    }
}
