//! The last request, kept so that it can be repeated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::client::api::printable;
use crate::proto::exchange::{InlineBody, Request};

/// The largest body that is kept, in bytes: enough for a webhook's, and only one is kept.
pub const MAX_BODY: usize = 64 << 10;

/// The longest method and path that a message has, in characters.
const MAX_NAME: usize = 60;

/// The last request.
#[derive(Debug, Default)]
pub struct Last(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    /// Which of the requests it is: an older one adds nothing to it.
    number: u64,
    request: Request,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Whole(Bytes),
    Coming(Vec<u8>),
    TooLarge,
}

/// Why the last request cannot be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unkept {
    /// There was none.
    None,
    /// Its body is not here yet, or has broken off.
    Coming {
        /// Its method and its path, printable.
        what: String,
    },
    /// Its body is larger than [`MAX_BODY`].
    TooLarge {
        /// Its method and its path, printable.
        what: String,
    },
}

/// Adds a request's body to what is kept of it, while it is the last one.
#[derive(Debug)]
pub(crate) struct Keeping {
    last: Arc<Last>,
    number: u64,
}

impl Last {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a request in the place of the last one. Returns what takes its body, if it is still to come.
    pub(crate) fn keep(self: &Arc<Self>, request: &Request) -> Option<Keeping> {
        let mut kept = self.lock();
        let number = kept.as_ref().map_or(0, |kept| kept.number + 1);
        let body = match &request.body {
            InlineBody::Streamed => Body::Coming(Vec::new()),
            InlineBody::Bytes(bytes) => Body::whole(bytes.clone()),
            InlineBody::Text(text) | InlineBody::Json(text) => Body::whole(text.as_bytes().clone()),
        };
        let is_coming = matches!(body, Body::Coming(_));
        let request = Request { body: InlineBody::Streamed, ..request.clone() };
        *kept = Some(Kept { number, request, body });
        is_coming.then(|| Keeping { last: Arc::clone(self), number })
    }

    /// Returns the last request, with its body.
    ///
    /// # Errors
    /// If there is none that is whole.
    pub(crate) fn request(&self) -> Result<Request, Unkept> {
        let kept = self.lock();
        let Kept { request, body, .. } = kept.as_ref().ok_or(Unkept::None)?;
        let what = || name(request);
        match body {
            Body::Whole(bytes) => Ok(Request { body: InlineBody::Bytes(bytes.clone()), ..request.clone() }),
            Body::Coming(_) => Err(Unkept::Coming { what: what() }),
            Body::TooLarge => Err(Unkept::TooLarge { what: what() }),
        }
    }
}

impl Body {
    fn whole(bytes: Bytes) -> Self {
        if bytes.len() > MAX_BODY { Self::TooLarge } else { Self::Whole(bytes) }
    }
}

impl Keeping {
    fn change(&self, change: impl FnOnce(&mut Body)) {
        if let Some(kept) = self.last.lock().as_mut().filter(|kept| kept.number == self.number) {
            change(&mut kept.body);
        }
    }

    /// Adds bytes of the body.
    pub(crate) fn data(&self, bytes: &[u8]) {
        self.change(|body| match body {
            Body::Coming(before) if before.len() + bytes.len() > MAX_BODY => *body = Body::TooLarge,
            Body::Coming(before) => before.extend_from_slice(bytes),
            Body::Whole(_) | Body::TooLarge => (),
        });
    }

    /// Notes that the body is whole.
    pub(crate) fn end(&self) {
        self.change(|body| {
            if let Body::Coming(bytes) = body {
                *body = Body::Whole(Bytes::from(std::mem::take(bytes)));
            }
        });
    }
}

/// Returns the method and the path of a request for people, without what is long of them.
pub(crate) fn name(request: &Request) -> String {
    let whole = printable(&[&*request.method, " ", &*request.path].concat());
    match whole.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn request(path: &'static str, body: InlineBody) -> Request {
        Request {
            method: "POST".into(),
            path: path.into(),
            search: "?a".into(),
            query: "{}".into(),
            http_version: "1.1".into(),
            headers: HeaderMap::new(),
            raw_headers: None,
            remote_address: "192.0.2.1".into(),
            id: "1-2".into(),
            body,
            stream: None,
        }
    }

    #[test]
    fn the_last_request_is_kept_with_its_body() {
        let last = Arc::new(Last::default());
        assert_eq!(last.request(), Err(Unkept::None));
        let whole = request("/whole", InlineBody::Bytes(Bytes::from_static(b"abc")));
        assert!(last.keep(&whole).is_none());
        assert_eq!(last.request(), Ok(whole));
        let streamed = last.keep(&request("/streamed", InlineBody::Streamed)).unwrap();
        streamed.data(b"ab");
        assert_eq!(last.request(), Err(Unkept::Coming { what: "POST /streamed".to_owned() }));
        streamed.data(b"c");
        streamed.end();
        assert_eq!(last.request(), Ok(request("/streamed", InlineBody::Bytes(Bytes::from_static(b"abc")))));
    }

    #[test]
    fn an_older_request_adds_nothing_to_the_last_one() {
        let last = Arc::new(Last::default());
        let older = last.keep(&request("/older", InlineBody::Streamed)).unwrap();
        let newer = last.keep(&request("/newer", InlineBody::Streamed)).unwrap();
        newer.data(b"new");
        older.data(b"old");
        older.end();
        newer.end();
        assert_eq!(last.request(), Ok(request("/newer", InlineBody::Bytes(Bytes::from_static(b"new")))));
    }

    #[test]
    fn a_body_of_more_than_64_kib_is_not_kept() {
        let last = Arc::new(Last::default());
        let too_large = Err(Unkept::TooLarge { what: "POST /".to_owned() });
        for (size, fits) in [(MAX_BODY, true), (MAX_BODY + 1, false)] {
            last.keep(&request("/", InlineBody::Bytes(vec![0; size].into())));
            assert_eq!(last.request().is_ok(), fits);
            let streamed = last.keep(&request("/", InlineBody::Streamed)).unwrap();
            streamed.data(&vec![0; size - 1]);
            streamed.data(&[0]);
            streamed.end();
            assert_eq!(last.request().is_ok(), fits);
        }
        assert_eq!(last.request(), too_large);
    }
}
