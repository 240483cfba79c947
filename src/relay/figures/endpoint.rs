//! Where figures are served: a listener of their own, since they are the operator's and nobody else's.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::config::Listen;
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::listener::{self, Handler};
use crate::net::reply::{self, Reply};
use crate::relay::bind;

/// Binds the listeners of figures.
///
/// # Errors
/// When an address cannot be listened on.
pub(in crate::relay) async fn listeners(listen: Listen) -> io::Result<Vec<TcpListener>> {
    let listeners =
        bind(listen).await.map_err(|error| io::Error::new(error.kind(), format!("cannot serve metrics: {error}")))?;
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "metrics at /metrics");
    }
    Ok(listeners)
}

/// Serves what `collector` collects under `/metrics`.
pub(in crate::relay) async fn serve(listener: TcpListener, collector: impl Collector) -> Infallible {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let endpoint = Arc::new(Endpoint(Arc::new(registry)));
    listener::serve(listener, endpoint, listener::Limits::default(), std::future::pending()).await;
    std::future::pending().await
}

struct Endpoint(Arc<Registry>);

impl Handler for Endpoint {
    async fn serve(&self, head: &mut Parts, _: &mut RequestBody, _: &Arrival<'_>) -> Reply {
        match head.uri.path() {
            "/metrics" => {
                let registry = Arc::clone(&self.0);
                // The system counts the process' descriptors meanwhile, for which workers have no time.
                let written = tokio::task::spawn_blocking(move || {
                    let mut text = String::with_capacity(16 << 10);
                    prometheus_text::encode(&mut text, &registry).map(|()| text)
                });
                match written.await {
                    Ok(Ok(text)) => reply::text(StatusCode::OK, prometheus_text::CONTENT_TYPE, text),
                    Ok(Err(_)) | Err(_) => reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
                }
            }
            _ => reply::text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there is /metrics\n"),
        }
    }
}
