//! What `--public-url` says to apps behind tunnels: the host and the path at which visitors find them.

/// The parts of the server's public URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicUrl {
    /// The URL without a slash at its end; `None` without one.
    url: Option<String>,
    host: Option<String>,
    tunnels_at: String,
}

impl PublicUrl {
    /// Reads the value of `--public-url`. Without one, the server is taken to be at the root of whatever host a visitor asks.
    pub(super) fn new(url: Option<&str>) -> Self {
        let Some(url) = url else { return Self { url: None, host: None, tunnels_at: "/go/".to_owned() } };
        let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let end = behind_scheme.find(['?', '#']).unwrap_or(behind_scheme.len());
        let (authority, path) = behind_scheme[..end].split_once('/').unwrap_or((&behind_scheme[..end], ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let slash = if path.trim_matches('/').is_empty() { "" } else { "/" };
        Self {
            url: Some(url.trim_end_matches('/').to_owned()),
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
            tunnels_at: format!("{slash}{}/go/", path.trim_matches('/')),
        }
    }

    /// Returns the URL of the server without a slash at its end: without `--public-url`, the one by which somebody asks.
    pub(super) fn base(&self, asked: impl FnOnce() -> String) -> String {
        self.url.clone().unwrap_or_else(asked)
    }

    /// Returns the URL of `--public-url` without a slash at its end.
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Returns the host, with the port if the URL names one.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the path at which all tunnels are: `/go/`, behind the path of the URL.
    pub(super) fn tunnels_at(&self) -> &str {
        &self.tunnels_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_a_host_and_a_path() {
        for (url, host, tunnels_at) in [
            (None, None, "/go/"),
            (Some("https://relay.example"), Some("relay.example"), "/go/"),
            (Some("https://relay.example/"), Some("relay.example"), "/go/"),
            (Some("http://relay.example:8080//"), Some("relay.example:8080"), "/go/"),
            (Some("https://[2001:db8::1]:444/a/b/"), Some("[2001:db8::1]:444"), "/a/b/go/"),
            (Some("https://me:secret@relay.example/a?b/c#d"), Some("relay.example"), "/a/go/"),
            (Some("https://relay.example?x=/y"), Some("relay.example"), "/go/"),
            (Some("relay.example/a"), Some("relay.example"), "/a/go/"),
        ] {
            let read = PublicUrl::new(url);
            assert_eq!((read.host(), read.tunnels_at()), (host, tunnels_at), "{url:?}");
        }
    }
}
