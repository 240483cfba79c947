//! The program with a configuration file: where it is, what comes before it, and what is wrong with it.

use std::path::PathBuf;

use crate::starting::{Started, Variables, ended};

/// A configuration file of one test.
struct File(PathBuf);

impl File {
    fn new(test: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("socket2me-{test}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_file_sets_what_flags_and_variables_do_not() {
    let on = "[serve]\nlisten = '127.0.0.1:0'\nstore = 'memory'\nrequire-keys = true\nlog-format = 'json'\n[tunnels.web]\ntarget = 1\n";
    let file = File::new("sets", on);
    for (variables, arguments, status) in [
        (&[][..], &["serve", "--config", file.path()][..], "403"),
        (&[("SOCKET2ME_CONFIG", file.path())], &["serve"], "403"),
        (&[("SOCKET2ME_CONFIG", file.path()), ("SOCKET2ME_REQUIRE_KEYS", "")], &["serve"], "403"),
        (&[("SOCKET2ME_CONFIG", file.path()), ("SOCKET2ME_REQUIRE_KEYS", "false")], &["serve"], "200"),
        // A flag comes before the variable that names another file.
        (&[("SOCKET2ME_CONFIG", "/nonexistent")], &["serve", "--config", file.path()], "403"),
    ] {
        let server = Started::new(variables, arguments).await;
        let answer = server.ask("/new", "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{variables:?} {arguments:?}: {answer}");
        let (code, log) = server.stop("-TERM").await;
        assert!(code == Some(0) && log.iter().all(|line| line.starts_with('{')), "{log:?}");
        assert!(log[0].contains(&format!("settings are read from {} too", file.path())), "{log:?}");
    }
}

#[tokio::test]
async fn of_two_settings_that_say_the_same_the_one_from_the_higher_source_wins() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    // A server with these settings of the file does not start, unless others come before them.
    let places = format!("[serve]\nlisten = '{taken}'\nstore = 'file:/nonexistent/a.redb'\n");
    let others = format!("[serve]\nport = {}\nredis-url = 'redis://127.0.0.1:x'\n", taken.port());
    for (text, variables) in [
        (&places, &[("PORT", "0"), ("REDIS_URL", "redis://127.0.0.1:1")]),
        (&places, &[("SOCKET2ME_LISTEN", "127.0.0.1:0"), ("SOCKET2ME_STORE", "memory")]),
        (&others, &[("SOCKET2ME_LISTEN", "127.0.0.1:0"), ("SOCKET2ME_STORE", "memory")]),
        (&others, &[("PORT", "0"), ("REDIS_URL", "redis://127.0.0.1:1")]),
    ] {
        let file = File::new("pairs", text);
        let arguments = ["serve", "--config", file.path()];
        assert_ne!(ended(&[], &arguments).await.0, Some(0), "{text}");
        let server = Started::new(variables, &arguments).await;
        assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"), "{text} {variables:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_is_wrong_usage_and_the_message_says_where() {
    let file = File::new("wrong", "[serve]\nmax-body = '0'\nport = 1\nlisten = '[::1]:1'\n");
    let unknown = File::new("unknown", "[serve]\nmax-bdy = 1\nmax-body = 'x'\n");
    let broken = File::new("broken", "[serve]\n\nredis-url = redis://:hunter2@a\n");
    let secret = File::new("secret", "[serve]\nredis-url = 'tcp://:hunter2@a'\n");
    let cases: [(&File, Variables<'_>, &[&str], &str); 7] = [
        (&file, &[], &[], "invalid value '0' for `max-body` in FILE: `0` is less than 1"),
        (&file, &[("SOCKET2ME_MAX_BODY", "x")], &[], "invalid value 'x' for the variable SOCKET2ME_MAX_BODY"),
        (&file, &[("SOCKET2ME_MAX_BODY", "x")], &["--max-body=y"], "invalid value 'y' for '--max-body <SIZE>'"),
        (&file, &[], &["--max-body=1"], "`listen` in FILE and `port` in FILE both say where to listen"),
        (&unknown, &[], &[], "`max-bdy` in FILE is no setting: did you mean `max-body`?"),
        (&broken, &[], &[], "FILE, line 3: this is no TOML"),
        (&secret, &[], &[], "`redis-url` in FILE: this is no URL of a Redis"),
    ];
    for (file, variables, flags, words) in cases {
        let (code, message) = ended(variables, &[&["serve", "--config", file.path()], flags].concat()).await;
        let words = words.replace("FILE", file.path());
        assert!(code == Some(2) && message.contains(&words), "{variables:?} {flags:?}: {code:?} {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_wrong_usage() {
    for (variables, path, words) in [
        (&[][..], "/nonexistent.toml", "cannot read the configuration file /nonexistent.toml: No such file"),
        (&[("SOCKET2ME_CONFIG", "/nonexistent.toml")], "", "/nonexistent.toml: No such file"),
        (&[], "/tmp", "cannot read the configuration file /tmp: Is a directory"),
        (&[], "/dev/zero", "/dev/zero is more than 1MiB: this is no configuration file"),
    ] {
        let flag = format!("--config={path}");
        let arguments = if path.is_empty() { vec!["serve"] } else { vec!["serve", &flag] };
        let (code, message) = ended(variables, &arguments).await;
        assert!(code == Some(2) && message.contains(words), "{path}: {code:?} {message}");
    }
    // The help and other commands need no file.
    let nowhere = [("SOCKET2ME_CONFIG", "/nonexistent.toml")];
    assert_eq!(ended(&nowhere, &["serve", "--help"]).await.0, Some(0));
    let (code, message) = ended(&nowhere, &["store", "list", "--store=memory"]).await;
    assert!(code == Some(1) && message.contains("memory ends with its server"), "{message}");
}
