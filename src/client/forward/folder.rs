//! The files of a folder. [`ServeDir`] knows types, conditional requests and ranges; here is which files are served at all.

#[cfg(test)]
mod tests;

use std::future::ready;
use std::io;
use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use tower_http::services::fs::ServeDir;
use tower_service::Service as _;

use super::answer::answered;
use super::paths::{Inside, is_served};
use super::record::Record;
use crate::client::visit::Visit;

/// The file that a visitor gets with status 404, where the folder has it.
const NOT_FOUND_PAGE: &str = "/404.html";

/// Files are asked about again each time, so that a visitor sees a new build at once.
const CACHING: HeaderValue = HeaderValue::from_static("no-cache");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The body of a response: of any size, in memory 64 KiB at a time.
type Content = UnsyncBoxBody<Bytes, io::Error>;

/// Serves the files of one folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    files: ServeDir<tower_http::services::fs::DefaultServeDirFallback, Inside>,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        let files = ServeDir::with_backend(root, Inside::new(root)).ignore_multi_range_requests(true);
        Self { files }
    }

    /// Serves one exchange. What a visitor sends as a body is dropped.
    pub(super) async fn serve(&self, visit: Visit, mut record: Record) {
        let Visit { request, body, answer } = visit;
        drop(body);
        let is_head = &*request.method == "HEAD";
        // A method of its own is refused as any other but GET and HEAD.
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::POST);
        let response = self.respond(&method, &request.path, &request.search, request.headers).await;
        record.status(response.status().as_u16());
        answered(response, "the file", is_head, answer, record).await;
    }

    /// Returns the response to a request for a path that is not decoded. `search` is the query with its `?`.
    async fn respond(&self, method: &Method, path: &str, search: &str, headers: HeaderMap) -> Response<Content> {
        let found = match request(method, path, conditions(method, headers)) {
            Some(request) => self.find(request).await,
            None => empty(StatusCode::NOT_FOUND),
        };
        match found.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => file(found),
            StatusCode::TEMPORARY_REDIRECT => to_slash(path, search).unwrap_or_else(|| in_words(found)),
            StatusCode::NOT_FOUND => self.not_found(found).await,
            _ => in_words(found),
        }
    }

    async fn find(&self, request: Request<Empty<Bytes>>) -> Response<Content> {
        let if_range = request.headers().get(header::IF_RANGE).cloned();
        let mut whole = request.clone();
        let response = self.ask(request).await;
        let is_part = matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
        // A range of another version than the visitor has is of no use (RFC 9110, section 13.1.5).
        let is_other = |known: &HeaderValue| {
            ![header::ETAG, header::LAST_MODIFIED].iter().any(|name| response.headers().get(name) == Some(known))
        };
        if is_part && if_range.as_ref().is_some_and(is_other) {
            whole.headers_mut().remove(header::RANGE);
            return self.ask(whole).await;
        }
        response
    }

    async fn ask(&self, request: Request<Empty<Bytes>>) -> Response<Content> {
        let Ok(response) = self.files.clone().call(request).await;
        response.map(Content::new)
    }

    /// Returns the folder's own page for what it has not, or the one of this program.
    async fn not_found(&self, found: Response<Content>) -> Response<Content> {
        let Some(request) = request(&Method::GET, NOT_FOUND_PAGE, HeaderMap::new()) else { return in_words(found) };
        let mut page = self.ask(request).await;
        if page.status() != StatusCode::OK {
            return in_words(found);
        }
        *page.status_mut() = StatusCode::NOT_FOUND;
        for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
            page.headers_mut().remove(name);
        }
        file(page)
    }
}

/// Makes a request for a file; `None` if no file may be served at this path.
fn request(method: &Method, path: &str, headers: HeaderMap) -> Option<Request<Empty<Bytes>>> {
    if !is_served(path) {
        return None;
    }
    let mut request = Request::builder().method(method).uri(path).body(Empty::new()).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// Returns the headers that decide about a file's response. A range has a meaning for GET alone, and one of another unit than bytes
/// is ignored (RFC 9110, section 14.2).
fn conditions(method: &Method, mut headers: HeaderMap) -> HeaderMap {
    let is_range = |value: &HeaderValue| value.as_bytes().starts_with(b"bytes=");
    if *method != Method::GET || !headers.get(header::RANGE).is_some_and(is_range) {
        headers.remove(header::RANGE);
    }
    headers
}

/// Makes the response of a file.
fn file(response: Response<Content>) -> Response<Content> {
    let (mut head, content) = response.into_parts();
    head.headers.insert(header::CACHE_CONTROL, CACHING);
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok())
        && (kind.starts_with("text/") || kind == "application/javascript")
        && let Ok(kind) = HeaderValue::try_from(format!("{kind}; charset=utf-8"))
    {
        head.headers.insert(header::CONTENT_TYPE, kind);
    }
    let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let Some(declared) = declared else { return Response::from_parts(head, content) };
    // A file that grows has more bytes by now than were declared.
    let parts = content.into_data_stream().scan(declared, |left: &mut usize, part| {
        ready(Some(part.map(|mut bytes: Bytes| {
            bytes.truncate(*left);
            *left -= bytes.len();
            bytes
        })))
    });
    let parts = parts.try_take_while(|bytes| ready(Ok(!bytes.is_empty()))).map_ok(Frame::data);
    Response::from_parts(head, StreamBody::new(parts).boxed_unsync())
}

/// Leads a visitor to the folder of this name. The URL is relative to the one that the visitor has used, whatever is in front of the
/// path there; `./` keeps a name with a colon from being a scheme.
fn to_slash(path: &str, search: &str) -> Option<Response<Content>> {
    let (_, name) = path.rsplit_once('/')?;
    let location = HeaderValue::try_from(format!("./{name}/{search}")).ok()?;
    let mut response = in_words(empty(StatusCode::TEMPORARY_REDIRECT));
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

fn empty(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Gives a response its status in words as the body.
fn in_words(response: Response<Content>) -> Response<Content> {
    let (mut head, _) = response.into_parts();
    let words = format!("{}\n", head.status);
    head.headers.insert(header::CONTENT_TYPE, TEXT);
    head.headers.insert(header::CONTENT_LENGTH, words.len().into());
    Response::from_parts(head, Full::from(words).map_err(|never| match never {}).boxed_unsync())
}
