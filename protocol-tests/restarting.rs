//! The program that is ended and started again, and where it keeps its tunnels meanwhile.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::starting::{BINARY, Started, Variables, answers, ended, program};
use crate::support::end::End;
use crate::support::within;

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("socket2me-test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn at(&self, path: &str) -> String {
        self.0.join(path).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that keeps its tunnels in a file.
async fn serving(file: &str) -> Started {
    Started::new(&[], &["serve", "--listen=127.0.0.1:0", &format!("--store=file:{file}")]).await
}

/// A server on a port that was free a moment ago, without a setting that says where tunnels are kept.
async fn by_default(variables: Variables<'_>) -> Started {
    Started::new(variables, &["serve", &format!("--listen=127.0.0.1:{}", free_port())]).await
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn address(server: &Started) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, server.port()).into()
}

/// Makes an original tunnel.
async fn token(server: &Started) -> String {
    let answer = server.ask("/new", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
}

/// Makes a keyed tunnel, and returns its key.
async fn named(server: &Started, name: &str) -> String {
    made(server, &format!(r#"{{"name":"{name}"}}"#)).await
}

/// Makes a keyed tunnel with these fields, and returns its key.
async fn made(server: &Started, body: &str) -> String {
    let head = "POST /new HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = answers(address(server), &request).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let made: serde_json::Value = serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

/// A visitor reaches the end of a tunnel.
async fn visit(server: &Started, token: &str, auth: &str) {
    let mut end = End::open(address(server)).await;
    end.join(token, auth).await.unwrap();
    let target = format!("/go/{token}/");
    let answer = async {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"here"]"#, &[]).await;
    };
    let (answer, ()) = tokio::join!(server.ask(&target, ""), answer);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
}

/// Ends a server as a crash does.
async fn kill(mut server: Started) {
    server.signal("-KILL").await;
    within("the server to be gone", server.child.wait()).await.unwrap();
}

#[tokio::test]
async fn tunnels_outlive_kill_9() {
    let folder = Folder::new("kill");
    let file = folder.at("state/tunnels.redb");
    let server = serving(&file).await;
    let (token, key) = (token(&server).await, named(&server, "mine").await);
    let auth = format!(r#"{{"key":"{key}"}}"#);
    visit(&server, "mine", &auth).await;
    kill(server).await;
    for _ in 0..2 {
        let server = serving(&file).await;
        visit(&server, &token, "").await;
        visit(&server, "mine", &auth).await;
        let mut stranger = End::open(address(&server)).await;
        assert!(stranger.join("mine", "").await.is_err());
        assert!(server.ask(&format!("/refresh/{token}"), "").await.starts_with("HTTP/1.1 200"));
        kill(server).await;
    }
    let server = serving(&file).await;
    let (code, log) = server.stop("-TERM").await;
    assert_eq!(code, Some(0));
    let line = format!("tunnels are kept in {file}");
    assert!(log.iter().any(|said| said.contains(&line) && said.contains("tunnels=2")), "{log:?}");
}

#[tokio::test]
async fn the_default_file_is_where_the_environment_says_and_named_after_the_port() {
    let folder = Folder::new("default");
    let (state, other) = (folder.at("state"), folder.at("other"));
    let both = format!("{state}:{other}");
    for (variables, place) in [
        (&[("STATE_DIRECTORY", both.as_str()), ("HOME", &other)][..], &*state),
        (&[("XDG_STATE_HOME", &state), ("HOME", &other)], &folder.at("state/socket2me")),
        (&[("HOME", &other)], &folder.at("other/.local/state/socket2me")),
    ] {
        let server = by_default(variables).await;
        let file = Path::new(place).join(format!("tunnels-{}.redb", server.port()));
        let token = token(&server).await;
        let arguments = ["serve", &format!("--listen=127.0.0.1:{}", server.port())];
        let (_, log) = server.stop("-TERM").await;
        let line = format!("tunnels are kept in {}", file.display());
        assert!(log.iter().any(|said| said.contains(&line)), "{variables:?}: {log:?}");
        let server = Started::new(variables, &arguments).await;
        visit(&server, &token, "").await;
    }
}

#[tokio::test]
async fn two_servers_on_two_ports_have_two_files() {
    let folder = Folder::new("two");
    let home = folder.at("home");
    let variables = &[("HOME", home.as_str())];
    let (one, other) = tokio::join!(by_default(variables), by_default(variables));
    let (of_one, of_other) = (token(&one).await, token(&other).await);
    visit(&one, &of_one, "").await;
    visit(&other, &of_other, "").await;
    assert_eq!(fs::read_dir(folder.at("home/.local/state/socket2me")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_default_place_that_cannot_be_used_is_warned_of_and_replaced_by_memory() {
    let folder = Folder::new("unusable");
    let (no_folder, damaged) = (folder.at("file"), folder.at("damaged"));
    fs::write(&no_folder, "a file where a folder should be").unwrap();
    fs::create_dir(&damaged).unwrap();
    let port = free_port();
    let file = folder.at(&format!("damaged/tunnels-{port}.redb"));
    fs::write(&file, "text").unwrap();
    let listen = format!("--listen=127.0.0.1:{port}");
    for (variables, words) in [
        (&[("STATE_DIRECTORY", no_folder.as_str())][..], "Not a directory"),
        (&[("STATE_DIRECTORY", damaged.as_str())], "is not a file of Socket2Me's tunnels"),
        (&[], "HOME, XDG_STATE_HOME and STATE_DIRECTORY are not set"),
    ] {
        let server = Started::new(variables, &["serve", &listen]).await;
        let token = token(&server).await;
        visit(&server, &token, "").await;
        let (_, log) = server.stop("-TERM").await;
        let warned: Vec<_> = log.iter().filter(|line| line.contains("WARN") && line.contains(words)).collect();
        assert!(warned.len() == 1 && warned[0].contains("--store"), "{words}: {log:?}");
        assert!(log.iter().any(|line| line.contains("tunnels are kept in memory: a restart loses them")), "{log:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[tokio::test]
async fn a_place_that_was_asked_for_and_cannot_be_used_stops_the_start() {
    let folder = Folder::new("refused");
    let file = folder.at("tunnels.redb");
    kill(serving(&file).await).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(9_999);
    for (content, words) in [(&bytes[..], "is damaged"), (b"text", "is not a file of Socket2Me's tunnels")] {
        fs::write(&file, content).unwrap();
        let arguments = ["serve", "--listen=127.0.0.1:0", &format!("--store=file:{file}")];
        let (code, log) = ended(&[], &arguments).await;
        let last = log.lines().next_back().unwrap_or_default();
        assert!(code == Some(1) && last.contains(&file) && last.contains(words), "{code:?} {log}");
        assert!(last.starts_with("socket2me: cannot keep tunnels: ") && last.contains("It is left as it is"), "{last}");
        assert!(fs::read(&file).unwrap() == content);
    }
}

/// The first server has an exchange in flight, so it runs on while it drains.
#[tokio::test]
async fn a_server_takes_over_the_file_of_one_that_drains() {
    let folder = Folder::new("takeover");
    let file = folder.at("tunnels.redb");
    let mut first = serving(&file).await;
    let token = token(&first).await;
    let mut end = End::connect(address(&first), &token).await;
    let target = format!("/go/{token}/");
    let visitor = first.ask(&target, "");
    let meanwhile = async {
        let asked = end.asked().await;
        let drains = async {
            first.signal("-TERM").await;
        };
        let (second, ()) = tokio::join!(serving(&file), drains);
        visit(&second, &token, "").await;
        end.answer(&asked, r#"[200,"late"]"#, &[]).await;
    };
    let (answer, ()) = tokio::join!(visitor, meanwhile);
    assert!(answer.ends_with("late"), "{answer}");
    assert_eq!(within("the first server to end", first.child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn tunnels_are_exported_imported_and_listed() {
    let folder = Folder::new("export");
    let (old, new, lines) = (folder.at("old.redb"), folder.at("new.redb"), folder.at("lines"));
    let server = serving(&old).await;
    let (token, key) = (token(&server).await, named(&server, "mine").await);
    let store = |action: &str, file: &str| program(BINARY, &[], &["store", action, &format!("--store=file:{file}")]);
    let refused = within("a refusal", store("export", &old).output()).await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(1) && said.contains("another process has") && refused.stdout.is_empty(),
        "{said}"
    );
    kill(server).await;
    let exported = within("the export", store("export", &old).output()).await.unwrap();
    assert!(exported.status.success() && exported.stdout.iter().filter(|&&byte| byte == b'\n').count() == 2);
    fs::write(&lines, &exported.stdout).unwrap();
    for said in ["2 imported, 0 there already, 0 expired\n", "0 imported, 2 there already, 0 expired\n"] {
        let mut import = store("import", &new);
        import.stdin(Stdio::from(fs::File::open(&lines).unwrap()));
        let imported = within("the import", import.output()).await.unwrap();
        assert_eq!(String::from_utf8(imported.stdout).unwrap(), said);
    }
    let listed = within("the list", store("list", &new).output()).await.unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() == 3 && listed.contains(&token) && listed.contains("mine"), "{listed}");
    let server = serving(&new).await;
    visit(&server, &token, "").await;
    visit(&server, "mine", &format!(r#"{{"key":"{key}"}}"#)).await;
    let (code, log) = ended(&[], &["store", "list", "--store=memory"]).await;
    assert!(code == Some(1) && log.contains("memory ends with its server"), "{log}");
}

/// The name of a deleted tunnel is kept for its key, counts for the address that made it, and does both after a restart.
#[tokio::test]
async fn a_name_that_is_kept_for_its_key_is_kept_over_a_restart() {
    let folder = Folder::new("claim");
    let store = format!("--store=file:{}", folder.at("tunnels.redb"));
    let arguments = ["serve", "--listen=127.0.0.1:0", &store, "--max-tunnels-per-address=1"];
    let server = Started::new(&[], &arguments).await;
    let key = named(&server, "mine").await;
    visit(&server, "mine", &format!(r#"{{"key":"{key}"}}"#)).await;
    let delete = format!(
        "DELETE /tunnel/mine HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    assert!(answers(address(&server), &delete).await.starts_with("HTTP/1.1 204"));
    kill(server).await;
    let server = Started::new(&[], &arguments).await;
    assert!(server.ask("/new", "").await.starts_with("HTTP/1.1 429"), "the name counts");
    kill(server).await;
    let server = Started::new(&[], &arguments[..3]).await;
    for (bearer, expected) in [(None, "409"), (Some(&key), "201")] {
        let bearer = bearer.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = "POST /new HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n";
        let body = r#"{"name":"mine"}"#;
        let request = format!("{head}{bearer}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = answers(address(&server), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
    visit(&server, "mine", &format!(r#"{{"key":"{key}"}}"#)).await;
}

/// Rules are kept in the file, and with a key of the operator's no byte of their secrets.
#[tokio::test]
async fn rules_outlive_a_restart_and_are_sealed() {
    let folder = Folder::new("sealed");
    let (file, keys) = (folder.at("tunnels.redb"), folder.at("keys"));
    let [old, new] = ["old", "new"].map(|word| word.repeat(20));
    let with_keys = async |content: &str| {
        fs::write(&keys, content).unwrap();
        let flags = [format!("--store=file:{file}"), format!("--secrets-key-file={keys}")];
        Started::new(&[], &["serve", "--listen=127.0.0.1:0", &flags[0], &flags[1]]).await
    };
    let code = async |server: &Started| {
        let answer = server.ask("/go/mine/", "").await.to_ascii_lowercase();
        let code = answer.lines().find_map(|line| line.strip_prefix("x-socket2me-error: ")).map(str::to_owned);
        code.unwrap_or(answer)
    };
    let server = with_keys(&old).await;
    let rules = r#"{"name":"mine","rules":{"verify":{"preset":"github","secrets":["tell-nobody-4c1d"]}}}"#;
    let key = made(&server, rules).await;
    let auth = format!(r#"{{"key":"{key}"}}"#);
    let mut end = End::open(address(&server)).await;
    end.join("mine", &auth).await.unwrap();
    assert_eq!(code(&server).await, "signature-missing");
    assert_eq!(server.stop("-TERM").await.0, Some(0));
    let bytes = fs::read(&file).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("sealed1:") && !has("tell-nobody") && !has("github"));

    for (content, expected) in [(format!("{new}\n{old}\n"), "signature-missing"), (new.clone(), "rules-unreadable")] {
        let server = with_keys(&content).await;
        let mut end = End::open(address(&server)).await;
        end.join("mine", &auth).await.unwrap();
        assert_eq!(code(&server).await, expected);
        assert_eq!(server.stop("-TERM").await.0, Some(0));
    }
    // Not even one without any key lets somebody pass.
    let server = serving(&file).await;
    let mut end = End::open(address(&server)).await;
    end.join("mine", &auth).await.unwrap();
    assert_eq!(code(&server).await, "rules-unreadable");
}
