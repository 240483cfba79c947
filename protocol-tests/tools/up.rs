//! `socket2me up`, and the file that names its tunnels.

use socket2me::config::{Secret, ServeConfig};
use tokio::net::TcpListener;

use super::{Scratch, Tool, command, output, path_of};
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::get;

/// Reads a line `NAME URL`, and returns the path of the URL.
async fn tunnel(tool: &mut Tool) -> (String, String) {
    let line = tool.line().await;
    let (name, url) = line.split_once(' ').unwrap_or_else(|| panic!("no name and URL: {line}"));
    (name.to_owned(), path_of(url))
}

#[tokio::test]
async fn the_tunnels_of_the_file_are_open_in_one_process() {
    let (server, scratch) = (Server::start(patient()).await, Scratch::new());
    scratch.write("a/index.html", "first").write("b/index.html", "second");
    let settings = "url-mode = 'path'\nurl-file = 'NAME.url'";
    let section = |name: &str| format!("[tunnels.{name}]\ntarget = './{name}'\n{}\n", settings.replace("NAME", name));
    scratch.write("socket2me.toml", section("a") + &section("b"));
    let mut tool = Tool::start(server.address, scratch.path(), &["up"]);
    let mut tunnels = [tunnel(&mut tool).await, tunnel(&mut tool).await];
    tunnels.sort();
    for ((name, path), content) in tunnels.iter().zip(["first", "second"]) {
        assert_eq!(get(server.address, &format!("{path}/")).await.text(), content, "{name}");
        let kept = std::fs::read_to_string(scratch.path().join(format!("{name}.url"))).unwrap();
        assert_eq!(path_of(kept.trim()), *path);
    }
    assert_eq!(tunnels.map(|(name, _)| name), ["a", "b"]);
    // A line of an exchange says whose it is.
    tool.says("a: ").await;
    assert_eq!(tool.stop().await.code(), Some(0));
    let mut tool = Tool::start(server.address, scratch.path(), &["up", "b", "--output", "json"]);
    let ready: serde_json::Value = loop {
        let event: serde_json::Value = serde_json::from_str(&tool.line().await).unwrap();
        assert_eq!(event["tunnel"], "b");
        if event["event"] == "ready" {
            break event;
        }
    };
    assert_eq!(
        ready["url"].as_str().map(path_of),
        std::fs::read_to_string(scratch.path().join("b.url")).ok().map(|url| path_of(url.trim()))
    );
    tool.kill().await;
}

#[tokio::test]
async fn a_tunnel_that_ends_does_not_end_the_others_and_the_largest_code_is_told() {
    let (server, scratch) = (Server::start(patient()).await, Scratch::new());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    scratch.write("site/index.html", "here");
    let ending = format!("[tunnels.ending]\ntarget = {}\nwait = '0.1s'\n", nobody.port()).replace("'0.1s'", "'100ms'");
    let staying = "[tunnels.staying]\ntarget = './site'\nurl-mode = 'path'\n";
    scratch.write("socket2me.toml", ending.clone() + staying);
    let mut tool = Tool::start(server.address, scratch.path(), &["up"]);
    let (name, path) = tunnel(&mut tool).await;
    tool.says("ending: socket2me: nothing listens").await;
    assert_eq!((name.as_str(), get(server.address, &format!("{path}/")).await.text().as_str()), ("staying", "here"));
    assert_eq!(tool.stop().await.code(), Some(7));
    let (code, out, _) = output(server.address, scratch.path(), &["up", "ending"]).await;
    assert_eq!((code, out.as_str()), (Some(7), ""));
}

#[tokio::test]
async fn tunnels_that_would_be_in_each_others_way_are_refused() {
    let (server, scratch) = (Server::start(patient()).await, Scratch::new());
    for (a, b, words) in [
        ("target = 1", "target = 1", "a and b forward to the same target"),
        ("target = 1\nname = 'n'", "target = 2\nname = 'n'", "a and b ask for the same name"),
        ("target = 1\nurl-file = 'u'", "target = 2\nurl-file = 'u'", "a and b have the same `url-file`"),
        ("target = 1", "target = 'x'", "b: "),
        ("target = 1", "target = 2\nserver = 'x:y'", "b: `x:y` is no URL of a server"),
        ("target = 1", "target = 2\nhold = 'x'", "invalid value 'x' for `hold` of [tunnels.b] in socket2me.toml"),
    ] {
        scratch.write("socket2me.toml", format!("[tunnels.a]\n{a}\n[tunnels.b]\n{b}"));
        let mut up = command(server.address, scratch.path(), &["up"]);
        up.env_remove("SOCKET2ME_SERVER");
        let output = up.output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}: {told}");
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[tokio::test]
async fn a_secret_goes_to_no_server_that_only_a_project_names() {
    let config = ServeConfig { create_secret: Some(Secret::from("tell-nobody")), ..patient() };
    let (server, scratch) = (Server::start(config).await, Scratch::new());
    let names_it = format!("server = 'http://{}'", server.address);
    scratch.write("secret", "tell-nobody").write("site/index.html", "here");
    scratch.write("project/socket2me.toml", format!("{names_it}\n[tunnels.a]\ntarget = '../site'"));
    let project = scratch.path().join("project");
    for given in [&["forward", "../site"][..], &["respond"], &["dump"], &["up"]] {
        for (own, flags, is_sent) in [
            (None, &[][..], false),
            (Some("server = 'http://127.0.0.1:1'"), &[], false),
            (Some(&*names_it), &[], true),
            (None, &["--server", &*format!("http://{}", server.address)], true),
        ] {
            let configuration = scratch.path().join("configuration");
            let _ = std::fs::remove_dir_all(&configuration);
            if let Some(own) = own {
                scratch.write("configuration/socket2me/socket2me.toml", own);
            }
            let mut tool = command(server.address, &project, &[given, flags].concat());
            tool.env_remove("SOCKET2ME_SERVER").env("XDG_CONFIG_HOME", &configuration);
            // A tunnel that is saved needs no secret.
            tool.env("SOCKET2ME_CREATE_SECRET_FILE", scratch.path().join("secret")).env("SOCKET2ME_EPHEMERAL", "true");
            let mut tool = Tool::of(tool);
            if is_sent {
                tool.says("is forwarded to").await;
                assert_eq!(tool.stop().await.code(), Some(0));
            } else {
                tool.says("the create secret is not sent to").await;
                tool.says("--create-secret-file").await;
                assert_eq!(tool.ended().await, Some(3), "{given:?}");
            }
        }
    }
}
