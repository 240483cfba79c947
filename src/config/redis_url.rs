//! The URLs of a Redis.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use redis::{ConnectionInfo, IntoConnectionInfo as _};

/// The most servers of one setting: each is asked at each connection.
const MOST: usize = 16;

/// The URL of a Redis, or those of a master and its replicas with commas between. They may have passwords in them: `Debug` shows
/// nothing, and no message quotes one.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Returns how to connect to each server, 16 at the most.
    ///
    /// # Errors
    /// With what is wrong with the URLs, without them.
    pub fn servers(&self) -> Result<Vec<ConnectionInfo>, String> {
        let servers = self.urls().map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.len() > MOST {
            return Err(format!("these are more than {MOST} URLs: write those of a master and its replicas"));
        }
        let database = |server: &ConnectionInfo| server.redis_settings().db();
        if servers.iter().any(|server| database(server) != database(&servers[0])) {
            return Err(
                "these URLs name several databases: a master and its replicas have tunnels in the same one".to_owned()
            );
        }
        for (place, server) in servers.iter().enumerate() {
            if servers[..place].iter().any(|before| before.addr() == server.addr()) {
                return Err(format!("redis://{} is there twice: name each server once", server.addr()));
            }
        }
        Ok(servers)
    }

    /// Returns the URLs. A comma that no URL follows is part of a password.
    fn urls(&self) -> impl Iterator<Item = &str> {
        let ends = self.0.match_indices(',').map(|(comma, _)| comma);
        let ends = ends.filter(move |comma| is_begun(self.0[comma + 1..].trim_start())).chain([self.0.len()]);
        let mut start = 0;
        ends.map(move |end| {
            let url = self.0[start..end].trim();
            start = end + 1;
            url
        })
    }
}

/// Tells whether a text begins as the URL of a Redis does.
fn is_begun(text: &str) -> bool {
    ["redis://", "rediss://"].iter().any(|scheme| text.starts_with(scheme))
}

fn server(url: &str) -> Result<ConnectionInfo, String> {
    const EXAMPLE: &str = "write redis://HOST:PORT/DATABASE, or rediss://USER:PASSWORD@HOST:PORT/DATABASE with TLS. Of a master \
                           and its replicas write all, with commas between";
    // A fragment would turn off what TLS is for.
    if !is_begun(url) || url.contains('#') {
        return Err(format!("this is no URL of a Redis: {EXAMPLE}"));
    }
    // The error's detail may quote the URL. A comma in the host is that of another server without `redis://`.
    let info = url.into_connection_info().ok().filter(|info| !info.addr().to_string().contains(','));
    info.ok_or_else(|| format!("this URL of a Redis cannot be read: {EXAMPLE}"))
}

impl FromStr for RedisUrl {
    type Err = Infallible;

    /// Takes any text: an error of the command line's reader would quote it. [`Self::servers`] checks it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RedisUrl {
    /// Writes where each server is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(servers) = self.servers() else { return f.write_str("redis") };
        let shown: Vec<_> = servers.iter().map(|server| format!("redis://{}", server.addr())).collect();
        f.write_str(&shown.join(","))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Result<Vec<ConnectionInfo>, String> {
        RedisUrl::from_str(text).unwrap().servers()
    }

    #[test]
    fn a_url_of_a_redis_is_read_and_another_is_refused_without_being_quoted() {
        for (text, address, database) in [
            ("redis://localhost", "localhost:6379", 0),
            ("redis://:hunter2@127.0.0.1:7000/3", "127.0.0.1:7000", 3),
            ("rediss://user:hunter2@[::1]:7000", "::1:7000", 0),
            ("redis://:hunter,2@a", "a:6379", 0),
        ] {
            let servers = servers(text).unwrap();
            let [info] = servers.as_slice() else { panic!("{text}") };
            assert_eq!((info.addr().to_string().as_str(), info.redis_settings().db()), (address, database), "{text}");
            assert!(info.addr().is_supported(), "{text}");
            assert_eq!(RedisUrl::from_str(text).unwrap().to_string(), format!("redis://{address}"));
        }
        for wrong in [
            "",
            "0",
            "localhost:6379",
            "http://:hunter2@a",
            "redis://:hunter2@a:x",
            "rediss://:hunter2@a#insecure",
            "redis://:hunter2@a/b",
            "redis://:hunter2@a,",
            "redis://:hunter2@a:1,b:2",
            "redis://:hunter2@a:1,rediss://:hunter2@b#insecure",
        ] {
            let message = servers(wrong).unwrap_err();
            assert!(!message.contains("hunter2") && message.contains("redis://HOST"), "{wrong}: {message}");
        }
        assert_eq!(format!("{:?}", RedisUrl::from_str("redis://:hunter2@a")), "Ok(RedisUrl)");
    }

    #[test]
    fn the_urls_of_a_master_and_its_replicas_have_commas_between() {
        let url = "redis://:hunter2@a/3, rediss://:hunter,2@b:7000/3,redis://c/3";
        let addresses: Vec<_> = servers(url).unwrap().iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:6379", "b:7000", "c:6379"]);
        assert_eq!(RedisUrl::from_str(url).unwrap().to_string(), "redis://a:6379,redis://b:7000,redis://c:6379");
        let many: Vec<_> = (0..=MOST).map(|port| format!("redis://:hunter2@a:{}", port + 1)).collect();
        assert_eq!(servers(&many[1..].join(",")).unwrap().len(), MOST);
        for (wrong, reason) in [
            ("redis://:hunter2@a/1,redis://:hunter2@b/2".to_owned(), "several databases"),
            ("redis://:hunter2@a,redis://b,redis://a:6379".to_owned(), "redis://a:6379 is there twice"),
            (many.join(","), "more than 16"),
        ] {
            let message = servers(&wrong).unwrap_err();
            assert!(message.contains(reason) && !message.contains("hunter2"), "{wrong}: {message}");
        }
    }
}
