//! Defaults in words, for settings whose default depends on another setting or on the address.

use std::fmt::Display;

use clap::Arg;

/// Appends `[default: words]` to the help of an optional setting.
pub(super) fn when_unset(words: impl Display) -> impl FnOnce(Arg) -> Arg {
    move |arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} [default: {words}]"))
    }
}

/// The words for a limit of one address.
pub(super) fn per_address(limit: impl Display) -> String {
    format!("{limit}, and none for this machine's own addresses")
}
