//! Lines of the log about who has changed what: one for each change by an operator, and by the owner of a tunnel. Their target is
//! `socket2me::audit`, so that a filter can keep them apart.

use std::fmt::Display;

use crate::proto::token::Token;

/// What the target of these lines is.
const TARGET: &str = "socket2me::audit";

/// Says that somebody has done something to a tunnel, whose token is shortened.
pub(super) fn line(by: impl Display, action: &'static str, token: &Token) {
    tracing::info!(target: TARGET, %by, action, ?token, "audit");
}

/// Says that what somebody has done to a tunnel may hold: the store has not answered.
pub(super) fn unsure(by: impl Display, action: &'static str, token: &Token) {
    tracing::info!(target: TARGET, %by, action, ?token, "audit: the store has not said whether it holds");
}

/// Says that somebody has done something about anything else.
pub(super) fn line_about(by: impl Display, action: &'static str, subject: impl Display) {
    tracing::info!(target: TARGET, %by, action, %subject, "audit");
}

/// Says that what somebody has done about anything else may hold: the store has not answered.
pub(super) fn unsure_about(by: impl Display, action: &'static str, subject: impl Display) {
    tracing::info!(target: TARGET, %by, action, %subject, "audit: the store has not said whether it holds");
}
