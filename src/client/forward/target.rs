//! What requests are forwarded to: an app on a port, at an address, at a Unix socket, or the files of a folder.

use std::fmt;
use std::path::PathBuf;

use http::Uri;

use crate::client::server_url::{is_loopback, port_of};

/// What requests are forwarded to. No request can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An app that speaks HTTP.
    App(App),
    /// The files of a folder.
    Directory(PathBuf),
}

/// An app that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Where it listens.
    pub at: At,
}

/// Where an app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// At a port of this machine: of 127.0.0.1, or else of ::1, where some dev servers listen alone.
    Port(u16),
    /// At a host, which may be an IPv6 address in brackets, and a port.
    Host(String, u16),
    /// At a Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads a target: `5173`, `host:port`, a URL, `unix:PATH`, or a folder.
    ///
    /// # Errors
    /// With what is wrong, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is nothing to forward to: {why}. Write a port such as 5173, HOST:PORT, a URL, unix:PATH, or a folder such as ./dist"
            )
        };
        if let Ok(port) = text.parse::<u16>() {
            return match port {
                0 => Err(wrong("port 0 is none")),
                port => Ok(Self::App(App { is_tls: false, at: At::Port(port) })),
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if !cfg!(unix) {
                return Err(wrong("this system has no Unix sockets"));
            }
            return if path.is_empty() {
                Err(wrong("it names no socket"))
            } else {
                Ok(Self::App(App { is_tls: false, at: At::Unix(path.into()) }))
            };
        }
        let (is_tls, authority) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err(wrong("its scheme is neither http nor https")),
            None => {
                let path = PathBuf::from(text);
                if path.is_dir() {
                    return Ok(Self::Directory(path));
                }
                if text.contains(std::path::MAIN_SEPARATOR) || text.starts_with('.') {
                    return Err(wrong("there is no such folder"));
                }
                (false, text)
            }
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("a path, a query or a name in it would not be used"));
        }
        let uri: Uri = format!("http://{authority}").parse().map_err(|_| wrong("it is no host and port"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let usual = text.contains("://").then_some(if is_tls { 443 } else { 80 });
        let port = port_of(&uri).ok_or_else(|| wrong("its port is none"))?.or(usual);
        let port = port.ok_or_else(|| wrong("it names no port"))?;
        let at = if host.eq_ignore_ascii_case("localhost") {
            At::Port(port)
        } else {
            At::Host(host.to_ascii_lowercase(), port)
        };
        Ok(Self::App(App { is_tls, at }))
    }

    /// Returns what tells the target from others: a folder is the same one wherever it is named from.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::App(_) => self.to_string(),
            Self::Directory(path) => {
                std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned()
            }
        }
    }

    /// Returns whether the target is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Directory(_) | Self::App(App { at: At::Port(_) | At::Unix(_), .. }) => true,
            Self::App(App { at: At::Host(host, _), .. }) => is_loopback(host),
        }
    }
}

impl App {
    /// Returns the host, with the port unless it is the scheme's own: what the app takes for its own name.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        match &self.at {
            At::Port(port) if *port == usual => "localhost".to_owned(),
            At::Port(port) => format!("localhost:{port}"),
            At::Host(host, port) if *port == usual => host.clone(),
            At::Host(host, port) => format!("{host}:{port}"),
            At::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Returns the scheme of the app's URLs.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(App { at: At::Unix(path), .. }) => write!(f, "unix:{}", path.display()),
            Self::App(app) => write!(f, "{}://{}", app.scheme(), app.authority()),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_port_an_address_a_url_a_socket_or_a_folder() {
        for (text, shown) in [
            ("5173", "http://localhost:5173"),
            ("80", "http://localhost"),
            ("localhost:3000", "http://localhost:3000"),
            ("10.0.0.7:3000", "http://10.0.0.7:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("http://localhost:3000/", "http://localhost:3000"),
            ("https://localhost", "https://localhost"),
            ("HTTPS://App.Test:8443", "https://app.test:8443"),
            ("src", "src"),
            ("./src", "./src"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown, "{text}");
        }
        if cfg!(unix) {
            assert_eq!(Target::parse("unix:/run/app.sock").unwrap().to_string(), "unix:/run/app.sock");
        }
        for text in [
            "",
            "0",
            "70000",
            "app",
            "./no-such-folder",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://me@a",
            "a:0",
            "unix:",
            "a b:1",
        ] {
            let why = Target::parse(text).unwrap_err();
            assert!(why.contains("such as 5173"), "{why}");
        }
    }

    #[test]
    fn what_is_on_this_machine_is_known() {
        for (text, is_local) in [
            ("5173", true),
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("a.localhost:1", true),
            ("10.0.0.7:1", false),
            ("src", true),
        ] {
            assert_eq!(Target::parse(text).unwrap().is_local(), is_local, "{text}");
        }
    }
}
