//! The rules that a reader would otherwise have to check by hand.

#![expect(clippy::unwrap_used, reason = "a test's failure is the report")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is two rooms. With its tests: tables are long.
const MAX_LINES: usize = 600;

/// What `proto` must not name: nothing that reads the time, waits, locks, draws, or does I/O.
const IMPURE: [&str; 24] = [
    "tokio",
    "hyper",
    "std::net",
    "std::io",
    "std::fs",
    "std::env",
    "std::thread",
    "std::sync::mpsc",
    "TcpStream",
    "UdpSocket",
    "SystemTime",
    "time::Instant::now",
    "Instant::now",
    "async ",
    ".await",
    "Mutex",
    "RwLock",
    "Condvar",
    "Atomic",
    "OnceLock",
    "thread_rng",
    "rand::",
    "tracing",
    "println!",
];

/// An address is a value like any other, although its module is named above.
const PURE: &str = "std::net::IpAddr";

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

/// The lines of code, with their numbers: comments may speak of anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).enumerate()
}

#[test]
fn purity() {
    let mut offences = Vec::new();
    for (path, text) in files("src/proto") {
        for (index, line) in code(&text) {
            let line = line.replace(PURE, "");
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{}: names `{word}`", path.display(), index + 1));
            }
        }
    }
    assert!(offences.is_empty(), "src/proto is pure, but:\n{}", offences.join("\n"));
}

#[test]
fn purity_would_notice() {
    let text = "let now = Instant::now(); // fine: Mutex\n";
    let (_, line) = code(text).next().unwrap();
    assert!(IMPURE.iter().any(|word| line.contains(word)));
    assert!(!line.contains("Mutex"), "comments do not count");
}

#[test]
fn rooms_know_only_those_below_them() {
    for (room, above) in [
        ("src/proto", &["crate::net", "crate::engine", "crate::relay", "crate::store", "crate::config"][..]),
        ("src/net", &["crate::engine", "crate::relay", "crate::store", "crate::config"]),
        ("src/engine", &["crate::relay", "crate::store", "crate::config"]),
    ] {
        for (path, text) in files(room) {
            for name in above {
                assert!(!text.contains(name), "{} names {name}", path.display());
            }
        }
    }
}

#[test]
fn no_file_is_two_rooms() {
    for (path, text) in files("src") {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, {MAX_LINES} are the limit", path.display());
    }
}

#[test]
fn no_other_socket_io_implementation() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for name in ["socketioxide", "engineioxide", "rust_socketio"] {
        assert!(!manifest.contains(name), "{name}");
    }
}

#[test]
fn nothing_is_unbounded() {
    for (path, text) in files("src") {
        for (index, line) in code(&text) {
            assert!(!line.contains("unbounded"), "{}:{}", path.display(), index + 1);
        }
    }
}

/// SECURITY.md names the tests that prove it: each name, or the beginning of one before an ellipsis, must be a test.
#[test]
fn what_security_md_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let code: String = [files("protocol-tests"), files("src")].concat().into_iter().map(|(_, text)| text).collect();
    let flags = fs::read_to_string(root.join("src/config/mod.rs")).unwrap()
        + &fs::read_to_string(root.join("src/config/limits.rs")).unwrap();
    let (mut tests, mut settings) = (0, 0);
    for name in text.split('`').skip(1).step_by(2) {
        let whole = name.strip_suffix('…').unwrap_or(name);
        if whole.contains('_')
            && whole.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9'))
        {
            let end = if whole == name { "(" } else { "" };
            assert!(code.contains(&format!("fn {whole}{end}")), "no test is called {name}");
            tests += 1;
        }
        if let Some(flag) = name.strip_prefix("--") {
            let field = flag.replace('-', "_");
            assert!(flags.contains(&format!("pub {field}:")), "there is no flag {name}");
            settings += 1;
        }
    }
    assert!(tests > 25 && settings > 20, "{tests} tests and {settings} flags: is this still how names are written?");
}
