//! The program of `--acme-dns-hook`, which sets a record in DNS and takes it away.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::trouble::printable;

/// How long the program may take: until the record can be looked up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes of its output that are told when it fails.
const MAX_OUTPUT: u64 = 2 << 10;

/// What the program is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Present,
    Cleanup,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

/// Runs the program, without a shell, as `PROGRAM present|cleanup NAME VALUE`.
///
/// # Errors
/// With what to tell the operator, when it cannot be run, takes too long, or ends with another status than 0.
pub(super) async fn run(program: &Path, step: Step, name: &str, value: &str) -> Result<(), String> {
    within(TIMEOUT, program, step, name, value).await
}

async fn within(time: Duration, program: &Path, step: Step, name: &str, value: &str) -> Result<(), String> {
    let told = format!("--acme-dns-hook {} {} {name}", program.display(), step.as_str());
    let mut command = Command::new(program);
    command.args([step.as_str(), name, value]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{told} cannot be run: {error}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = async { tokio::join!(child.wait(), first_words(out), first_words(err)) };
    let Ok((status, out, err)) = tokio::time::timeout(time, ended).await else {
        return Err(format!("{told} did not end within {} s, and was stopped", time.as_secs()));
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{told} has failed ({status}): {}", printable(&format!("{err} {out}")).trim())),
        Err(error) => Err(format!("{told} has failed: {error}")),
    }
}

/// Reads all that a program writes, and returns the beginning.
async fn first_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What could not be read is not told.
    let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_hook_gets_its_words_without_a_shell_and_its_failure_is_told() {
        let folder = std::env::temp_dir().join(format!("socket2me-hook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (hook, seen) = (folder.join("hook"), folder.join("seen"));
        let write = |script: &str| {
            let new = folder.join("new");
            std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700)).unwrap();
            std::fs::rename(&new, &hook).unwrap();
        };
        write(&format!("printf '%s|' \"$@\" > {}", seen.display()));
        run(&hook, Step::Present, "_acme-challenge.a.example", "$(x) y").await.unwrap();
        assert_eq!(std::fs::read_to_string(&seen).unwrap(), "present|_acme-challenge.a.example|$(x) y|");
        write("echo no such zone >&2; exit 3");
        let told = run(&hook, Step::Cleanup, "_acme-challenge.a.example", "v").await.unwrap_err();
        assert!(told.contains("cleanup") && told.contains("no such zone") && told.contains('3'), "{told}");
        write("exec sleep 1000");
        let told = within(Duration::from_millis(50), &hook, Step::Present, "a", "v").await.unwrap_err();
        assert!(told.contains("did not end"), "{told}");
        let told = run(&folder.join("none"), Step::Present, "a", "v").await.unwrap_err();
        assert!(told.contains("cannot be run"), "{told}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
