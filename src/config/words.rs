//! The values of settings that are one of a few words.

use clap::ValueEnum;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// The statuses of the relay's own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ErrorStatus {
    /// 500 for an unknown token and for a tunnel without an end, as in the original
    Original,
    /// 404 for an unknown token and 502 for a tunnel without an end, as in other relays
    Standard,
}

/// What becomes of documents that ends answer with at the paths of their tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PathHtml {
    /// They pass as they are
    Allow,
    /// They run in an origin of their own each time, without storage, and cookies are kept to the tunnel's path
    Sandbox,
    /// 403
    Refuse,
}
