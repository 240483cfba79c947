use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder of files for one test, inside another one that has a secret.
struct Files {
    outside: PathBuf,
    folder: Folder,
}

impl Files {
    fn new(name: &str) -> Self {
        let outside = std::env::temp_dir().join(format!("socket2me-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&outside);
        for (path, content) in [
            ("secret.txt", "SECRET"),
            ("root/.env", "SECRET"),
            ("root/.git/config", "SECRET"),
            ("root/.well-known/acme", "acme"),
            ("root/.well-known/.hidden", "SECRET"),
            ("root/sub/.htaccess", "SECRET"),
            ("root/sub/.well-known/acme", "SECRET"),
            ("root/index.html", "<p>home"),
            ("root/sub/index.html", "<p>sub"),
            ("root/sub/a b.txt", "0123456789"),
            ("root/bare/app.js", "let a"),
            ("root/page.mjs", "let b"),
            ("root/data.bin", "\0"),
            ("root/colon:name/index.html", "<p>colon"),
            ("root/per%2fcent", "a name with %2f"),
        ] {
            let path = outside.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let folder = Folder::new(&outside.join("root"));
        Self { outside, folder }
    }

    async fn ask(&self, method: &Method, path: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
        let (path, search) = path.split_at(path.find('?').unwrap_or(path.len()));
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let response = self.folder.respond(method, path, search, headers).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&Method::GET, path, &[]).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.outside);
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[tokio::test]
async fn files_are_served_with_their_types() {
    let files = Files::new("types");
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<p>home"),
        ("/index.html?v=1", "text/html; charset=utf-8", "<p>home"),
        ("/sub/", "text/html; charset=utf-8", "<p>sub"),
        ("/sub/a%20b.txt", "text/plain; charset=utf-8", "0123456789"),
        ("//sub//a%20b.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/s%75b/%61%20b.txt", "text/plain; charset=utf-8", "0123456789"),
        ("/bare/app.js", "text/javascript; charset=utf-8", "let a"),
        ("/page.mjs", "application/javascript; charset=utf-8", "let b"),
        ("/data.bin", "application/octet-stream", "\0"),
        ("/.well-known/acme", "application/octet-stream", "acme"),
        ("/per%252fcent", "application/octet-stream", "a name with %2f"),
    ] {
        let answer = files.get(path).await;
        assert_eq!((answer.status, answer.header(header::CONTENT_TYPE), &*answer.body), (200, kind, body), "{path}");
        assert_eq!(answer.header(header::CONTENT_LENGTH), body.len().to_string(), "{path}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-cache", "{path}");
        let head = files.ask(&Method::HEAD, path, &[]).await;
        assert_eq!((head.status, head.header(header::CONTENT_LENGTH)), (200, &*body.len().to_string()), "{path}");
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder_or_to_what_is_hidden() {
    let files = Files::new("hostile");
    for path in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/sub/../index.html",
        "/./index.html",
        "/..",
        "/../",
        "/%2e%2e/secret.txt",
        "/.%2E/secret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/sub%2fa%20b.txt",
        "/sub%2Findex.html",
        "/%2findex.html",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/sub%5cindex.html",
        "/%252e%252e/secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/%e0%80%ae%e0%80%ae/secret.txt",
        "/index.html%00",
        "/index.html%00.png",
        "/%00",
        "/index.html%0a",
        "/index.html/",
        "/index.html/x",
        "/sub/a%20b.txt/..",
        "/etc/passwd",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2fetc%2fpasswd",
        "/C:/secret.txt",
        "/C:%5csecret.txt",
        "/file:///etc/passwd",
        "/.env",
        "/%2eenv",
        "/.git",
        "/.git/",
        "/.git/config",
        "/%2Egit/config",
        "/%e2%80%8c.git/config",
        "/sub/.htaccess",
        "/sub/.well-known/acme",
        "/.well-known/.hidden",
        "/.well-known/%2ehidden",
        "/.well-known/../.env",
        "/%ff",
        "/bare",
        "/none",
        "/bare/none?q",
    ] {
        // The folder is there, which its redirect tells; it has no page.
        let expected = if path == "/bare" { 307 } else { 404 };
        for method in [Method::GET, Method::HEAD] {
            let answer = files.ask(&method, path, &[]).await;
            assert_eq!(answer.status, expected, "{path}: {answer:?}");
            assert!(!answer.body.contains("SECRET") && !answer.body.contains("root:"), "{path}");
        }
    }
    let long = format!("/{}", "x".repeat(5000));
    assert_eq!(files.get(&long).await.status, 404);
    assert_eq!(files.get("/bare/").await.body, "404 Not Found\n");
    for path in ["", "index.html", "*", "http://localhost/index.html", "/a b", "/\u{e9}"] {
        assert_eq!(files.get(path).await.status, 404, "{path}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_lead_to_what_is_in_the_folder_and_nowhere_else() {
    use std::os::unix::fs::symlink;
    let files = Files::new("links");
    let root = files.outside.join("root");
    for (to, name) in [
        ("../secret.txt", "out"),
        ("/etc", "etc"),
        ("..", "up"),
        ("loop", "loop"),
        ("none", "dangling"),
        ("sub", "in"),
        ("../root/sub/a b.txt", "round.txt"),
    ] {
        symlink(to, root.join(name)).unwrap();
    }
    symlink(root.join("sub"), root.join("absolute")).unwrap();
    for (path, status) in [
        ("/out", 404),
        ("/etc", 404),
        ("/etc/", 404),
        ("/etc/passwd", 404),
        ("/up/secret.txt", 404),
        ("/up/root/index.html", 200),
        ("/loop", 404),
        ("/dangling", 404),
        ("/in", 307),
        ("/in/", 200),
        ("/in/a%20b.txt", 200),
        ("/absolute/index.html", 200),
        ("/round.txt", 200),
    ] {
        assert_eq!(files.get(path).await.status, status, "{path}");
    }
    // The served folder itself may be a link, and a new build may take its place.
    symlink("root", files.outside.join("current")).unwrap();
    let linked = Folder::new(&files.outside.join("current"));
    let status = async || linked.respond(&Method::GET, "/page.mjs", "", HeaderMap::new()).await.status().as_u16();
    assert_eq!(status().await, 200);
    fs::remove_file(files.outside.join("current")).unwrap();
    symlink("root/sub", files.outside.join("current")).unwrap();
    assert_eq!(status().await, 404);
}

/// Opening a pipe waits for somebody who writes into it.
#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_not_found() {
    let files = Files::new("special");
    let root = files.outside.join("root");
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::create_dir(root.join("bare/index.html")).unwrap();
    for path in ["/pipe", "/socket", "/bare/", "/pipe/"] {
        assert_eq!(files.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_folder_without_its_slash_is_led_to_it_from_wherever_the_visitor_is() {
    let files = Files::new("slash");
    for (path, location) in [
        ("/sub", "./sub/"),
        ("/sub?a=1&b", "./sub/?a=1&b"),
        ("//sub", "./sub/"),
        ("/s%75b", "./s%75b/"),
        ("/colon:name", "./colon:name/"),
    ] {
        let answer = files.get(path).await;
        assert_eq!((answer.status, answer.header(header::LOCATION)), (307, location), "{path}");
    }
}

#[tokio::test]
async fn what_a_visitor_has_already_is_not_sent_again() {
    let files = Files::new("conditions");
    let path = "/sub/a%20b.txt";
    let first = files.get(path).await;
    let (tag, date) = (first.header(header::ETAG), first.header(header::LAST_MODIFIED));
    assert!(tag.starts_with('"') && date.ends_with("GMT"), "{first:?}");
    let old = "Mon, 01 Jan 1990 00:00:00 GMT";
    for (headers, status) in [
        (&[(header::IF_NONE_MATCH, tag)][..], 304),
        (&[(header::IF_NONE_MATCH, "\"x\", *")], 200),
        (&[(header::IF_NONE_MATCH, "\"x\"")], 200),
        (&[(header::IF_MODIFIED_SINCE, date)], 304),
        (&[(header::IF_MODIFIED_SINCE, old)], 200),
        (&[(header::IF_MATCH, "\"x\"")], 412),
        (&[(header::IF_UNMODIFIED_SINCE, old)], 412),
        (&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, date)], 200),
    ] {
        let answer = files.ask(&Method::GET, path, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.body.is_empty(), status == 304, "{headers:?}");
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_to_whom_it_fits() {
    let files = Files::new("ranges");
    let path = "/sub/a%20b.txt";
    let first = files.get(path).await;
    let (tag, date) = (first.header(header::ETAG), first.header(header::LAST_MODIFIED));
    for (range, if_range, status, body, content_range) in [
        ("bytes=2-4", "", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", "", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", "", 206, "89", "bytes 8-9/10"),
        ("bytes=5-99", "", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", "", 416, "416 Range Not Satisfiable\n", "bytes */10"),
        ("bytes=0-1,3-4", "", 200, "0123456789", ""),
        ("lines=0-1", "", 200, "0123456789", ""),
        ("bytes=2-4", tag, 206, "234", "bytes 2-4/10"),
        ("bytes=2-4", date, 206, "234", "bytes 2-4/10"),
        ("bytes=2-4", "\"x\"", 200, "0123456789", ""),
        ("bytes=10-", "\"x\"", 200, "0123456789", ""),
        ("bytes=2-4", "Mon, 01 Jan 1990 00:00:00 GMT", 200, "0123456789", ""),
    ] {
        let all = [(header::RANGE, range), (header::IF_RANGE, if_range)];
        let headers = if if_range.is_empty() { &all[..1] } else { &all[..] };
        let answer = files.ask(&Method::GET, path, headers).await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{range} {if_range}");
        assert_eq!(answer.header(header::CONTENT_RANGE), content_range, "{range} {if_range}");
    }
    let head = files.ask(&Method::HEAD, path, &[(header::RANGE, "bytes=2-4")]).await;
    assert_eq!((head.status, head.header(header::CONTENT_LENGTH)), (200, "10"));
}

#[tokio::test]
async fn other_methods_are_refused() {
    let files = Files::new("methods");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let answer = files.ask(&method.parse().unwrap(), "/", &[]).await;
        assert_eq!((answer.status, answer.header(header::ALLOW)), (405, "GET,HEAD"), "{method}");
    }
}

#[tokio::test]
async fn the_folders_own_page_is_shown_for_what_it_has_not() {
    let files = Files::new("page");
    fs::write(files.outside.join("root/404.html"), "<p>lost").unwrap();
    for path in ["/none", "/.env", "/%00", "/../secret.txt"] {
        let answer = files.ask(&Method::GET, path, &[(header::IF_NONE_MATCH, "*")]).await;
        assert_eq!((answer.status, &*answer.body), (404, "<p>lost"), "{path}");
        assert_eq!(answer.header(header::ETAG), "", "{path}");
    }
}

#[tokio::test]
async fn a_file_that_grows_is_as_long_as_its_head_says() {
    let files = Files::new("grows");
    let response = files.folder.respond(&Method::GET, "/index.html", "", HeaderMap::new()).await;
    fs::write(files.outside.join("root/index.html"), "<p>home, and more".repeat(9000)).unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "<p>home");
}
