//! The mode of the terminal in which keys come one by one and are not shown.
//!
//! On Unix it is not the raw mode of crossterm: Ctrl-C, Ctrl-Z and Ctrl-\ stay signals, and the ends of lines stay what they are for
//! everything that writes to the terminal. A process in the background leaves the mode alone, and does not read: the system would
//! stop it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::screen;

#[cfg(unix)]
use self::unix as system;
#[cfg(not(unix))]
use self::windows as system;

/// What has become of the mode.
struct Mode {
    /// How the terminal was before, while keys come one by one.
    before: Option<system::Before>,
    /// The process is about to be stopped by Ctrl-Z.
    is_paused: bool,
    /// The process is about to end.
    is_over: bool,
}

static MODE: Mutex<Mode> = Mutex::new(Mode { before: None, is_paused: false, is_over: false });

fn mode() -> MutexGuard<'static, Mode> {
    MODE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether keys come one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// They do.
    Come,
    /// Not now: the process is in the background.
    NotNow,
    /// Never again, or not in this terminal.
    Never,
}

/// Lets keys come one by one.
pub(super) fn enter() -> Keys {
    let mut mode = mode();
    if mode.is_over {
        return Keys::Never;
    }
    if mode.is_paused || !is_foreground() {
        return Keys::NotNow;
    }
    if mode.before.is_none() {
        mode.before = system::enter();
    }
    if mode.before.is_some() { Keys::Come } else { Keys::Never }
}

/// Leaves the mode until [`resume`].
#[cfg(unix)]
pub(super) fn pause() {
    let mut mode = mode();
    mode.is_paused = true;
    mode.before.take().into_iter().for_each(system::leave);
}

/// Allows [`enter`] again. A shell that has set its own mode meanwhile may not have set the former one.
#[cfg(unix)]
pub(super) fn resume() {
    let mut mode = mode();
    mode.is_paused = false;
    if mode.before.is_some() && is_foreground() {
        system::enter();
    }
}

/// Whether the mode was left until the process goes on.
pub(super) fn is_paused() -> bool {
    mode().is_paused
}

/// Leaves the terminal as it was, for ever. Call it before the process ends without unwinding.
pub fn leave() {
    screen::hide();
    let mut mode = mode();
    mode.is_over = true;
    mode.before.take().into_iter().for_each(system::leave);
}

pub(super) use system::{is_foreground, width};

#[cfg(unix)]
mod unix {
    use std::io;

    use rustix::process::getpgrp;
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    };

    pub(super) type Before = Termios;

    pub(super) fn enter() -> Option<Before> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut wanted = before.clone();
        wanted.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        wanted.special_codes[SpecialCodeIndex::VMIN] = 1;
        wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &wanted).ok()?;
        Some(before)
    }

    #[allow(clippy::needless_pass_by_value, reason = "the mode is left once")]
    pub(super) fn leave(before: Before) {
        // In the background the mode is another's; and there is nobody left to tell of an error.
        let _ = is_foreground() && tcsetattr(io::stdin(), OptionalActions::Now, &before).is_ok();
    }

    /// Returns whether the terminal is this process' to read and to draw on. One that controls no processes is.
    pub(in super::super) fn is_foreground() -> bool {
        tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
    }

    /// Returns the columns of the terminal; `None` if it does not know.
    pub(in super::super) fn width() -> Option<usize> {
        tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|&width| width > 0)
    }
}

#[cfg(not(unix))]
mod windows {
    use crossterm::terminal;

    /// crossterm knows what was before.
    pub(super) struct Before;

    pub(super) fn enter() -> Option<Before> {
        terminal::enable_raw_mode().ok().map(|()| Before)
    }

    pub(super) fn leave(Before: Before) {
        // There is nobody left to tell.
        let _ = terminal::disable_raw_mode();
    }

    /// There is no background.
    pub(in super::super) fn is_foreground() -> bool {
        true
    }

    /// Returns the columns of the terminal; `None` if it does not know.
    pub(in super::super) fn width() -> Option<usize> {
        terminal::size().ok().map(|(width, _)| usize::from(width)).filter(|&width| width > 0)
    }
}
