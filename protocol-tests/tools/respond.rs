//! `socket2me respond` and `socket2me url`.

use super::{Scratch, Tool, output};
use crate::relay::visitor::{Answer, get, request, visit};
use crate::support::wire::Server;

#[tokio::test]
async fn each_request_gets_the_same_response() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let large = "0123456789".repeat(100_000);
    scratch.write("large.txt", &large);
    for (arguments, status, kind, body) in [
        (&[][..], 200, Some("text/plain; charset=utf-8"), ""),
        (&["404"], 404, Some("text/plain; charset=utf-8"), ""),
        (&["503", "--body", "gar\u{e7}on"], 503, Some("text/plain; charset=utf-8"), "gar\u{e7}on"),
        (&["--body", "<p>", "--header", "Content-Type: text/html"], 200, Some("text/html"), "<p>"),
        (&["--body-file", "large.txt"], 200, Some("text/plain; charset=utf-8"), &large),
        (&["204", "--body", "unseen"], 204, None, ""),
    ] {
        let arguments = [&["respond", "--url-mode=path", "--ephemeral"], arguments].concat();
        let mut tool = Tool::start(server.address, scratch.path(), &arguments);
        let tunnel = tool.tunnel().await;
        let is_it = |answer: &Answer| {
            assert_eq!((answer.status, answer.header("content-type")), (status, kind), "{arguments:?}");
            assert!(answer.text() == body, "{arguments:?}: {}", answer.body.len());
        };
        is_it(&get(server.address, &format!("{tunnel}/a?b")).await);
        // A visitor's words about types change nothing, and a large body is read to its end.
        let headers = [("Accept", "image/png"), ("Content-Type", "image/png")];
        is_it(&visit(server.address, &request("POST", &format!("{tunnel}/"), &headers, large.as_bytes())).await);
        let head = visit(server.address, &request("HEAD", &format!("{tunnel}/"), &[], b"")).await;
        assert_eq!((head.status, head.header("content-type")), (status, kind), "{arguments:?}");
        tool.kill().await;
    }
}

#[tokio::test]
async fn headers_are_sent_as_they_are_given() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let mut command = super::command(server.address, scratch.path(), &["respond", "302", "--url-mode=path"]);
    command.env("SOCKET2ME_HEADER", "Location: https://app.test/\nSet-Cookie: a=1\nSet-Cookie: b=2");
    let mut tool = Tool::of(command);
    let answer = get(server.address, &format!("{}/", tool.tunnel().await)).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://app.test/")));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn what_is_no_response_is_refused_at_the_start() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    scratch.write("body", "");
    for (arguments, words) in [
        (&["respond", "101"][..], "such as 503"),
        (&["respond", "--header", "x"], "it has no colon"),
        (&["respond", "--header", "Content-Length: 3"], "the server sets it"),
        (&["respond", "--body-file", "none"], "cannot read `none`"),
        (&["respond", "--body", "a", "--body-file", "body"], "cannot be used with"),
        (&["dump", "--max-body", "x"], "max-body"),
    ] {
        let (code, _, told) = output(server.address, scratch.path(), arguments).await;
        assert!(code == Some(2) && told.contains(words), "{arguments:?}: {code:?} {told}");
    }
}

#[tokio::test]
async fn the_url_of_a_saved_tunnel_is_printed_without_opening_it() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let ask = async |arguments: &[&str]| output(server.address, scratch.path(), &[&["url"], arguments].concat()).await;
    let none = |(code, out, told): (Option<i32>, String, String)| {
        assert!(code == Some(1) && out.is_empty() && told.contains("--ephemeral"), "{code:?} {out} {told}");
    };
    none(ask(&[]).await);
    let mut one = Tool::start(server.address, scratch.path(), &["respond"]);
    let url = one.line().await + "\n";
    // It is found while it is open, and after that.
    assert_eq!(ask(&[]).await, (Some(0), url.clone(), String::new()));
    one.kill().await;
    assert_eq!(ask(&["respond"]).await, (Some(0), url.clone(), String::new()));
    none(ask(&["dump"]).await);
    none(ask(&["5173"]).await);
    none(ask(&["--name", "app"]).await);

    scratch.write("dist/index.html", "");
    let mut two = Tool::start(server.address, scratch.path(), &["forward", "./dist"]);
    let other = two.line().await + "\n";
    two.kill().await;
    assert_eq!(ask(&["dist"]).await, (Some(0), other, String::new()));
    let (code, out, told) = ask(&[]).await;
    assert!(code == Some(1) && out.is_empty() && told.contains("respond") && told.contains("/dist"), "{told}");
    assert_eq!(ask(&["respond"]).await.1, url);
}
