//! A URL opened in the browser.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};

use http::Uri;

/// What opens a URL. On Windows it is not `cmd /c start`, which is a shell: a `&` in a URL would be a command to it.
const OPENER: &[&str] = if cfg!(windows) {
    &["rundll32", "url.dll,FileProtocolHandler"]
} else if cfg!(target_os = "macos") {
    &["open"]
} else {
    &["xdg-open"]
};

/// Returns the program that opens a URL, and its arguments.
///
/// # Errors
/// When it is no URL of the web: other schemes start other programs.
fn command(url: &str) -> Result<(&'static str, Vec<OsString>), String> {
    let uri: Uri = url.parse().map_err(|_| "the URL is none for a browser".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err("the URL is none for a browser: it is neither http nor https".to_owned());
    }
    let (program, arguments) = OPENER.split_first().ok_or("this system has no browser")?;
    Ok((program, arguments.iter().copied().chain([url]).map(OsString::from).collect()))
}

/// Opens a URL in the browser. `failed` is called if this does not work, in a thread of its own.
pub(super) fn open(url: &str, failed: impl FnOnce(String) + Send + 'static) {
    let (program, arguments) = match command(url) {
        Ok(command) => command,
        Err(why) => return failed(why),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A browser that this starts does not get the terminal's Ctrl-C.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let wait = move || match command.status() {
        Ok(status) if status.success() => (),
        Ok(status) => failed(format!("the browser was not opened: {program} says {status}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failed(format!("the browser was not opened: this system has no {program}"));
        }
        Err(error) => failed(format!("the browser was not opened: {program}: {error}")),
    };
    // A thread that cannot be started is a browser that does not open.
    let _ = std::thread::Builder::new().name("browser".to_owned()).spawn(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_web_are_opened() {
        for url in ["http://a.localhost:3000/", "https://a.example/go/x?a=b&c=d", "HTTPS://a.example"] {
            let (_, arguments) = command(url).unwrap();
            assert_eq!(arguments.last().unwrap(), url);
        }
        for url in [
            "",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--help",
            "/go/x",
            "ftp://a",
            "http://",
            "https://a b",
            "http://a\u{7}",
        ] {
            assert!(command(url).is_err(), "{url}");
        }
    }
}
