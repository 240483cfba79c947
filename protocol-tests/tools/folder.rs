//! `socket2me forward FOLDER`.

use super::{Scratch, Tool};
use crate::relay::visitor::{get, request, visit};
use crate::support::wire::Server;

#[tokio::test]
async fn the_files_of_a_folder_are_on_the_internet() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    scratch.write("dist/index.html", "<p>home").write("dist/sub/index.html", "<p>sub").write("dist/large.bin", &large);
    scratch.write("dist/.env", "SECRET").write("dist/404.html", "<p>lost").write("secret.txt", "SECRET");
    let mut tool = Tool::start(server.address, scratch.path(), &["forward", "./dist", "--url-mode=path"]);
    let tunnel = tool.tunnel().await;
    let at = |rest: &str| format!("{tunnel}{rest}");

    let home = get(server.address, &at("/")).await;
    assert_eq!((home.status, home.text().as_str()), (200, "<p>home"));
    assert_eq!(home.header("content-type"), Some("text/html; charset=utf-8"));
    let tag = home.header("etag").unwrap();
    let again = visit(server.address, &request("GET", &at("/"), &[("If-None-Match", tag)], b"")).await;
    assert_eq!((again.status, again.body.len()), (304, 0));

    let whole = get(server.address, &at("/large.bin")).await;
    assert!(whole.status == 200 && whole.body == large);
    let range = [("Range", "bytes=1000000-2999998")];
    let part = visit(server.address, &request("GET", &at("/large.bin"), &range, b"")).await;
    assert!(part.status == 206 && part.body == large[1_000_000..2_999_999], "{}", part.body.len());
    let head = visit(server.address, &request("HEAD", &at("/large.bin"), &[], b"")).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("3000000")));

    let to_slash = get(server.address, &at("/sub?q=1")).await;
    assert_eq!((to_slash.status, to_slash.header("location")), (307, Some("./sub/?q=1")));
    assert_eq!(get(server.address, &at("/sub/?q=1")).await.text(), "<p>sub");
    let posted = visit(server.address, &request("POST", &at("/"), &[], &large)).await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET,HEAD")));
    for path in
        ["/none", "/.env", "/%2eenv", "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/..%5csecret.txt"]
    {
        let answer = get(server.address, &at(path)).await;
        assert_eq!((answer.status, answer.text().as_str()), (404, "<p>lost"), "{path}");
    }
    assert!(tool.stop().await.success());
}

#[tokio::test]
async fn a_folder_is_the_same_tunnel_wherever_it_is_named_from() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    scratch.write("one/dist/index.html", "one").write("two/dist/index.html", "two").write(".git/HEAD", "");
    let mut urls = Vec::new();
    for (folder, target) in [("one", "./dist"), ("one/dist", "."), ("two", "./dist"), (".", "one/dist")] {
        let mut command = super::command(server.address, scratch.path(), &["forward", target]);
        command.current_dir(scratch.path().join(folder));
        let mut tool = Tool::of(command);
        urls.push(tool.line().await);
        tool.kill().await;
    }
    assert!(urls[0] == urls[1] && urls[0] != urls[2] && urls[0] == urls[3], "{urls:?}");
}
