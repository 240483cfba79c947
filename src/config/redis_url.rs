//! The URL of a Redis.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use redis::{ConnectionInfo, IntoConnectionInfo as _};

/// The URL of a Redis, which may have a password in it: `Debug` shows nothing, and no message quotes it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Returns how to connect.
    ///
    /// # Errors
    /// With what is wrong with the URL, without the URL.
    pub fn info(&self) -> Result<ConnectionInfo, String> {
        const EXAMPLE: &str = "write redis://HOST:PORT/DATABASE, or rediss://USER:PASSWORD@HOST:PORT/DATABASE with TLS";
        let is_one = ["redis://", "rediss://"].iter().any(|scheme| self.0.starts_with(scheme));
        // A fragment would turn off what TLS is for.
        if !is_one || self.0.contains('#') {
            return Err(format!("this is no URL of a Redis: {EXAMPLE}"));
        }
        // The error's detail may quote the URL.
        self.0.as_str().into_connection_info().map_err(|_| format!("this URL of a Redis cannot be read: {EXAMPLE}"))
    }
}

impl FromStr for RedisUrl {
    type Err = Infallible;

    /// Takes any text: an error of the command line's reader would quote it. [`Self::info`] checks it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RedisUrl {
    /// Writes where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Ok(info) => write!(f, "redis://{}", info.addr()),
            Err(_) => f.write_str("redis"),
        }
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

    #[test]
    fn a_url_of_a_redis_is_read_and_another_is_refused_without_being_quoted() {
        let info = |text: &str| RedisUrl::from_str(text).unwrap().info();
        for (text, address, database) in [
            ("redis://localhost", "localhost:6379", 0),
            ("redis://:hunter2@127.0.0.1:7000/3", "127.0.0.1:7000", 3),
            ("rediss://user:hunter2@[::1]:7000", "::1:7000", 0),
        ] {
            let info = info(text).unwrap();
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
        ] {
            let message = info(wrong).unwrap_err();
            assert!(!message.contains("hunter2") && message.contains("redis://HOST"), "{wrong}: {message}");
        }
        assert_eq!(format!("{:?}", RedisUrl::from_str("redis://:hunter2@a")), "Ok(RedisUrl)");
    }
}
