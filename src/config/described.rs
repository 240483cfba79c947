//! What is made of the description of the command line: completions of shells, and pages of the manual.

use clap::error::{Error, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::{Cli, CompletionsConfig, ManConfig};

/// The version in the foot of a page.
const SOURCE: &str = concat!("socket2me ", env!("CARGO_PKG_VERSION"));

/// Returns the script by which a shell completes commands and flags.
#[must_use]
pub fn completions(config: &CompletionsConfig) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(config.shell, &mut Cli::command(), "socket2me", &mut script);
    script
}

/// Returns a page of the manual, as `man` reads it.
///
/// # Errors
/// When there is no such command; the message names those that there are.
pub fn page(config: &ManConfig) -> Result<Vec<u8>, Error> {
    let mut program = Cli::command();
    // Only then do commands know the names of their pages.
    program.build();
    let of = match &config.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| no_command(&program, name))?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(of).source(SOURCE).manual("Socket2Me").render(&mut page)?;
    Ok(page)
}

fn no_command(program: &Command, name: &str) -> Error {
    let names: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
    let message = format!("there is no command {name}: write one of {}", names.join(", "));
    program.clone().error(ErrorKind::InvalidValue, message)
}
