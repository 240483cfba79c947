//! A tunnel that does not open.

use tokio::net::TcpListener;

use super::*;
use crate::client::requests::Requests;

/// Returns a tunnel at this server, and what it reports.
fn tunnel_at(server: &str) -> (Tunnel, mpsc::Receiver<Report>) {
    let (dialer, server) = (Dialer::new(None).unwrap(), ServerUrl::parse(server).unwrap());
    let api = Api::new(Requests::new(dialer.clone(), server.clone()), None);
    let (tell, reports) = mpsc::channel(100);
    let wanted = Wanted {
        server,
        name: None,
        settings: Settings::default(),
        url_mode: UrlMode::Path,
        target: String::new(),
        place: None,
    };
    (Tunnel::new(dialer, api, wanted, Arc::new(move |report| tell.try_send(report).unwrap())), reports)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_to_fail_is_asked_less_and_less_often() {
    // It takes connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tunnel, mut reports) = tunnel_at(&format!("http://{}", listener.local_addr().unwrap()));
    let (handler, stop): (Handler, _) = (Arc::new(|_| Box::pin(async {})), CancellationToken::new());
    let running = tokio::spawn(async move { tunnel.run(&handler, &stop).await });
    let mut longest = Duration::ZERO;
    for _ in 0..15 {
        let began = Instant::now();
        let Some(Report::Reconnecting { after, .. }) = reports.recv().await else { panic!("another report") };
        assert!(began.elapsed() > Duration::from_secs(10), "it is slow to fail");
        longest = longest.max(after);
    }
    // The waits are chosen at random: each of the last ones is below this once in 30 times.
    assert!(longest > Duration::from_secs(1), "{longest:?}");
    running.abort();
}
