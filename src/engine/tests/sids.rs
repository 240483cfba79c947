//! Ids of sessions that the host makes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn sessions_have_the_ids_that_the_host_makes() {
    let (calls, _told) = mpsc::channel(100);
    let host = TestHost { calls, gate: Arc::new(Semaphore::new(0)), panics_in: "" };
    let application = SocketIo::new(host, SocketIoSettings::default());
    let sid = "node-oneBwcHBwcHBwcHBwcHqYhuIjWW";
    let make = || Sid::parse(sid).unwrap();
    let engine = Engine::with_sids(application, EngineIoSettings::default(), Limits::default(), make);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { engine.listen(listener, std::future::pending()).await });
    for (query, expected) in [("", r#""sid":"node-oneBwcHBwcHBwcHBwcHqYhuIjWW""#), (&format!("&sid={sid}"), "ok")] {
        let (method, body) = if query.is_empty() { ("GET", "") } else { ("POST", "40") };
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} /?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains(expected), "{answer}");
    }
}
