//! The settings of the commands that serve a tunnel without an app, and of those that look at one.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header;
use http::{HeaderName, HeaderValue, StatusCode};

use super::forward::Output;
use super::tunnel::{ServerConfig, TunnelConfig};
use super::units::{size, size_text};
use crate::defaults;

/// What stands behind the help of `respond`.
pub(super) const RESPOND_EXAMPLES: &str = "\
The body of a request is read and dropped. TIME is a number of seconds, or with ms, s, m or h: 300ms.

Examples:
  socket2me respond
  socket2me respond 503 --body 'Back at noon' --header 'Retry-After: 3600' --name my-app
  socket2me respond --body-file answer.json --header 'Content-Type: application/json'

Exit codes: 0 asked to, 1 failed, 2 wrong usage, 3 refused by the server, 4 taken over or in use, 5 certificate";

/// What stands behind the help of `dump`.
pub(super) const DUMP_EXAMPLES: &str = "\
Each request is answered with 200 and nothing, once it is written. The URL goes to standard error and to --url-file.
SIZE is a number of bytes, or with KiB, MiB or GiB. TIME is a number of seconds, or with ms, s, m or h: 300ms.

Examples:
  socket2me dump
  socket2me dump --output json | jq .headers

Exit codes: 0 asked to, 1 failed, 2 wrong usage, 3 refused by the server, 4 taken over or in use, 5 certificate";

/// What stands behind the help of `doctor`.
pub(super) const DOCTOR_EXAMPLES: &str = "\
One line for each check: ok, warn or fail, what was found, and what to do. Nothing is left behind at the server.
TARGET is what `socket2me forward` would be given.

Examples:
  socket2me doctor --server https://relay.example
  socket2me doctor 5173

Exit codes: 0 nothing fails, 1 something does, 2 wrong usage";

/// What stands behind the help of `url`.
pub(super) const URL_EXAMPLES: &str = "\
TARGET is what `socket2me forward` was given, or respond or dump. It can be left out where the project has one tunnel.

Examples:
  socket2me url 5173
  curl \"$(socket2me url dump)/hook\"

Exit codes: 0 there is one, 1 there is none, 2 wrong usage";

/// The settings of `socket2me respond`.
#[derive(Debug, Clone, Args)]
pub struct RespondConfig {
    /// Status of the response, 200 to 599
    #[arg(value_name = "STATUS", default_value = "200", value_parser = status)]
    pub status: StatusCode,
    /// Body of the response [default: none]
    #[arg(help_heading = "Response", long, env = "SOCKET2ME_BODY", value_name = "TEXT", conflicts_with = "body_file")]
    pub body: Option<String>,
    /// File with the body of the response. It is read once, at the start
    #[arg(help_heading = "Response", long, env = "SOCKET2ME_BODY_FILE", value_parser = body_file, value_name = "FILE")]
    pub body_file: Option<Bytes>,
    /// Header of the response, as often as there are headers; in the variable, one a line
    #[arg(help_heading = "Response", long = "header", env = "SOCKET2ME_HEADER", value_delimiter = '\n', value_parser = header_line, value_name = "NAME: VALUE")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The server, and what is asked of it.
    #[command(flatten)]
    pub tunnel: TunnelConfig,
    /// What is written to standard output: the URL alone, or one JSON object a line for all that happens
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_OUTPUT", value_enum, default_value_t = Output::Url)]
    pub output: Output,
}

/// The settings of `socket2me dump`.
#[derive(Debug, Clone, Args)]
pub struct DumpConfig {
    /// The server, and what is asked of it.
    #[command(flatten)]
    pub tunnel: TunnelConfig,
    /// How requests are written to standard output: as text, or one JSON object a line
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_DUMP_OUTPUT", value_enum, default_value_t = DumpOutput::Text)]
    pub output: DumpOutput,
    /// What is shown of a body. Beyond: the number of bytes that follow. 0 is none of it
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_DUMP_MAX_BODY", default_value = size_text(defaults::DUMP_MAX_BODY), value_parser = size, value_name = "SIZE")]
    pub max_body: usize,
}

/// How requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpOutput {
    /// As text
    Text,
    /// One JSON object a line
    Json,
}

/// The settings of `socket2me doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorConfig {
    /// What requests would be forwarded to [default: nothing is looked for on this machine]
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// The server, and how it is reached.
    #[command(flatten)]
    pub at: ServerConfig,
}

/// The settings of `socket2me url`: those of `forward` that tell one tunnel from another.
#[derive(Debug, Clone, Args)]
pub struct UrlConfig {
    /// What the tunnel's requests go to [default: the only tunnel that is saved for this project, server and name]
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// The server, and how it is reached.
    #[command(flatten)]
    pub at: ServerConfig,
    /// Name of the tunnel, if it was given one
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_NAME", value_name = "NAME")]
    pub name: Option<String>,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = StatusCode::from_bytes(text.as_bytes()).ok();
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| format!("`{text}` is no status of a response: write 200 to 599, such as 503"))
}

fn body_file(path: &str) -> Result<Bytes, String> {
    std::fs::read(path).map(Bytes::from).map_err(|error| format!("cannot read `{path}`: {error}"))
}

fn header_line(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = |why: &str| format!("`{line}` is no header: {why}. Write a name and a value, as in 'Retry-After: 60'");
    let (name, value) = line.split_once(':').ok_or_else(|| wrong("it has no colon"))?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong("its name has characters that none can have"))?;
    if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(&name) {
        return Err(wrong("the server sets it"));
    }
    let value = value.trim().parse().map_err(|_| wrong("its value has characters that none can have"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        for (line, name, value) in [
            ("A: b", "a", "b"),
            ("x-y:  1:2 ", "x-y", "1:2"),
            ("Content-Type: text/html; charset=x", "content-type", "text/html; charset=x"),
            ("a:", "a", ""),
        ] {
            let (found, of) = header_line(line).unwrap();
            assert_eq!((found.as_str(), of.to_str().unwrap()), (name, value), "{line}");
        }
        for line in [
            "",
            "a",
            ": b",
            "a b: c",
            "a: b\rc",
            "a: b\0",
            "Content-Length: 3",
            "connection: close",
            "transfer-encoding: x",
        ] {
            assert!(header_line(line).unwrap_err().contains("'Retry-After: 60'"), "{line}");
        }
    }

    #[test]
    fn a_status_is_one_of_a_response() {
        for text in ["200", "404", "599"] {
            assert_eq!(status(text).unwrap().as_str(), text);
        }
        for text in ["", "100", "101", "199", "600", "999", "2000", "ok", "-1"] {
            assert!(status(text).unwrap_err().contains("such as 503"), "{text}");
        }
    }
}
