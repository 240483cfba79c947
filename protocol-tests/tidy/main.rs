//! The rules that a reader would otherwise have to check by hand.

#![expect(clippy::unwrap_used, reason = "a test's failure is the report")]

mod documents;
mod lengths;
mod names;
mod rooms;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `proto` and the directory of a cluster must not name: nothing that reads the time, waits, locks, draws, or does I/O.
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

/// The folders that must not.
const PURE_FOLDERS: [&str; 2] = ["src/proto", "src/cluster/directory"];

/// An address is a value like any other, although its module is named above.
const PURE: &str = "std::net::IpAddr";

/// The folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below a folder with their paths, but for what is built or installed.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "corpus", "seeds"];
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!SKIPPED.iter().any(|skipped| path.ends_with(skipped))).then_some(path));
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    found
}

/// The Rust files below a folder of the repository.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = texts(&root().join(folder));
    found.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

/// The files of `src` without tests: no test modules, no files of a module `tests`.
fn product_files() -> Vec<(PathBuf, String)> {
    let is_test = |path: &Path| path.ancestors().any(|folder| folder.ends_with("tests")) || path.ends_with("tests.rs");
    let mut files = files("src");
    files.retain(|(path, _)| !is_test(path.strip_prefix(root()).unwrap()));
    files.into_iter().map(|(path, text)| (path, product(&text))).collect()
}

/// A path as the reports of failures show it.
fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}

/// The lines of code, with their numbers: comments may speak of anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).enumerate()
}

/// A file's text without the items that are for tests alone.
fn product(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let indentation = &line[..line.len() - line.trim_start().len()];
        let is_last = |line: &str| {
            let line = line.strip_prefix(indentation).filter(|line| !line.starts_with([' ', '#']));
            line.is_some_and(|line| line.ends_with([';', '}']))
        };
        lines.by_ref().find(|line| is_last(line));
    }
    kept.join("\n")
}

#[test]
fn items_for_tests_are_not_the_product() {
    assert_eq!(product("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nuse d;\ne"), "a\nc\ne");
}

#[test]
fn proto_is_pure() {
    let mut offences = Vec::new();
    for (path, text) in PURE_FOLDERS.into_iter().flat_map(files) {
        for (index, line) in code(&text) {
            let line = line.replace(PURE, "");
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{}: names `{word}`", shown(&path), index + 1));
            }
        }
    }
    assert!(offences.is_empty(), "these folders are pure, but:\n{}", offences.join("\n"));
}

#[test]
fn a_clock_in_proto_would_be_noticed() {
    let text = "let now = Instant::now(); // fine: Mutex\n";
    let (_, line) = code(text).next().unwrap();
    assert!(IMPURE.iter().any(|word| line.contains(word)));
    assert!(!line.contains("Mutex"), "comments do not count");
}

#[test]
fn no_other_socket_io_implementation() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in ["socketioxide", "engineioxide", "rust_socketio"] {
        assert!(!manifest.contains(name), "{name}");
    }
}

#[test]
fn no_channel_is_unbounded() {
    for (path, text) in files("src") {
        for (index, line) in code(&text) {
            assert!(!line.contains("unbounded"), "{}:{}", shown(&path), index + 1);
        }
    }
}

/// The files of the server whose warnings no stranger can cause without limit: the operator and this machine cause them, or there is
/// one for each tunnel or process.
const WARNING: [&str; 12] = [
    "src/engine/mod.rs",
    "src/net/listener.rs",
    "src/net/seldom.rs",
    "src/relay/admin/at_path.rs",
    "src/relay/mod.rs",
    "src/relay/node.rs",
    "src/relay/router.rs",
    "src/relay/rules/rulebook.rs",
    "src/relay/stopping.rs",
    "src/relay/storage.rs",
    "src/relay/tls.rs",
    "src/relay/tunnels/restoring.rs",
];

#[test]
fn strangers_cannot_fill_the_log_with_warnings() {
    let mut offences = Vec::new();
    for (path, text) in product_files() {
        let file = shown(&path).to_string();
        if !["src/engine", "src/net", "src/relay"].iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let warnings: Vec<_> = code(&text).filter(|(_, line)| line.contains("tracing::warn!")).collect();
        let is_listed = WARNING.contains(&&*file);
        assert!(!is_listed || !warnings.is_empty(), "{file} has no warnings");
        if !is_listed {
            offences.extend(warnings.iter().map(|(index, line)| format!("{file}:{}: {}", index + 1, line.trim())));
        }
    }
    assert!(offences.is_empty(), "these belong in `warn_seldom!`, or their file in the list:\n{}", offences.join("\n"));
}

/// The patches that `scripts/fuzz --planted` applies name a fuzz target, and fit the sources as they are.
#[test]
fn planted_faults_fit() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("fuzz/planted")).unwrap() {
        let patch = entry.unwrap().path();
        let name = patch.file_stem().unwrap().to_str().unwrap();
        let target = name.split('-').next().unwrap();
        assert!(root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists(), "{name}: there is no such target");
        let git = Command::new("git").current_dir(root()).args(["apply", "--check"]).arg(&patch).output().unwrap();
        assert!(git.status.success(), "{name}: {}", String::from_utf8_lossy(&git.stderr));
        count += 1;
    }
    assert!(count > 0, "no patches: have they moved?");
}
