//! Documents at the paths of tunnels, with `--path-html` (PROTOCOL.md, "The shared origin").

use socket2me::config::{PathHtml, ServeConfig};

use super::hosts::{Named, get};
use super::tunnel::patient;
use super::visitor::{Answer, visit};

const HTML: &str = r#"[200,"<p>",{"content-type":"text/html","content-security-policy":"default-src 'self'"}]"#;
const JSON: &str =
    r#"[200,"{}",{"content-type":"application/json","set-cookie":["a=1; Path=/","b=2; Path=/go/my-app/x"]}]"#;

async fn open(rule: PathHtml) -> Named {
    Named::open(ServeConfig { path_html: rule, ..patient() }).await
}

fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| &**value).collect()
}

#[tokio::test]
async fn documents_run_in_a_sandbox_and_cookies_keep_to_their_tunnel() {
    let mut tunnel = open(PathHtml::Sandbox).await;
    let path = get("localhost", &tunnel.tunnel.at("/"));
    let sandbox = "sandbox allow-scripts allow-forms";
    let (_, page) = tunnel.exchange(&path, HTML).await;
    assert_eq!((page.status, all(&page, "content-security-policy")), (200, vec!["default-src 'self'", sandbox]));
    // What has no type is a page to the browser that looks at it.
    let (_, untyped) = tunnel.exchange(&path, r#"[404,"<p>"]"#).await;
    assert_eq!(all(&untyped, "content-security-policy"), [sandbox]);
    let (_, data) = tunnel.exchange(&path, JSON).await;
    assert_eq!(all(&data, "content-security-policy"), [""; 0]);
    assert_eq!(all(&data, "set-cookie"), ["a=1; Path=/; Path=/go/my-app/", "b=2; Path=/go/my-app/x"]);
    // At its own host, the page has an origin.
    let (_, page) = tunnel.exchange(&get("my-app.localhost", "/"), HTML).await;
    assert_eq!(all(&page, "content-security-policy"), ["default-src 'self'"]);
}

#[tokio::test]
async fn documents_are_refused_and_nothing_else() {
    let mut tunnel = open(PathHtml::Refuse).await;
    let path = get("localhost", &tunnel.tunnel.at("/"));
    for page in [HTML, r#"[200,"<p>"]"#, r#"[200,"<svg/>",{"content-type":"image/svg+xml"}]"#] {
        let (_, answer) = tunnel.exchange(&path, page).await;
        assert_eq!(
            (answer.status, answer.code(), answer.header("set-cookie")),
            (403, Some("html-refused"), None),
            "{page}"
        );
    }
    for (other, status) in [(JSON, 200), ("[304]", 304), (r#"[302,"",{"location":"/x"}]"#, 302), ("[204]", 204)] {
        let (_, answer) = tunnel.exchange(&path, other).await;
        assert_eq!((answer.status, answer.code()), (status, None), "{other}");
    }
    let (_, page) = tunnel.exchange(&get("my-app.localhost", "/"), HTML).await;
    assert_eq!((page.status, page.text()), (200, "<p>".to_owned()));
}

#[tokio::test]
async fn search_engines_list_nothing_unless_somebody_lets_them() {
    for (allow_robots, args, expected) in [
        (false, HTML, Some("noindex, nofollow")),
        (false, r#"[200,"",{"x-robots-tag":"all"}]"#, Some("all")),
        (true, HTML, None),
    ] {
        let mut tunnel = Named::open(ServeConfig { allow_robots, ..patient() }).await;
        let (_, answer) = tunnel.exchange(&get("my-app.localhost", "/"), args).await;
        assert_eq!(answer.header("x-robots-tag"), expected, "{args}");
    }
}

#[tokio::test]
async fn by_default_documents_pass() {
    let mut tunnel = Named::open(patient()).await;
    let (_, page) = tunnel.exchange(&get("localhost", &tunnel.tunnel.at("/")), HTML).await;
    assert_eq!((page.status, all(&page, "content-security-policy")), (200, vec!["default-src 'self'"]));
}

#[tokio::test]
async fn a_person_sees_whose_app_it_is_before_the_first_page_and_a_program_does_not() {
    let mut tunnel = Named::open(ServeConfig { interstitial: true, ..patient() }).await;
    let at = tunnel.tunnel.at("/x?a=1");
    let ask = |headers: &str| {
        format!("GET {at} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    let page = visit(tunnel.server.address, &ask("Accept: text/html\r\n")).await;
    assert_eq!((page.status, page.code(), page.header("x-frame-options")), (403, Some("interstitial"), Some("DENY")));
    assert!(page.text().contains(r#"<a href="">"#), "{}", page.text());
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let seen = format!("Accept: text/html\r\nCookie: a=1; {cookie}\r\n");
    for headers in ["Accept: */*\r\n", &seen, "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n"] {
        let (_, answer) = tunnel.exchange(&ask(headers), HTML).await;
        assert_eq!((answer.status, answer.text()), (200, "<p>".to_owned()), "{headers}");
    }
}
