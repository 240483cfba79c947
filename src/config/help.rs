//! Defaults that are told in words: of settings without a value of their own, or with another one for some addresses.

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
