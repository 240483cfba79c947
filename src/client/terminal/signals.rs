//! Signals that have to do with the terminal: a window of another size, Ctrl-Z and what follows it, Ctrl-\.

use std::io;

use rustix::process::{Signal, getpgrp, getpid, getsid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::mode;
use super::queue::Queue;

/// SIGTSTP. tokio has no name for it.
const SUSPEND: SignalKind = SignalKind::from_raw(Signal::TSTP.as_raw());

/// SIGCONT.
const RESUME: SignalKind = SignalKind::from_raw(Signal::CONT.as_raw());

/// Starts a task that tells the queue of signals.
///
/// # Errors
/// When the system has no place for a handler.
pub(super) fn listen(queue: Queue) -> io::Result<()> {
    let (mut window, mut quit) = (signal(SignalKind::window_change())?, signal(SignalKind::quit())?);
    let (mut suspend, mut resume) = (signal(SUSPEND)?, signal(RESUME)?);
    tokio::spawn(async move {
        loop {
            let is_heard = tokio::select! {
                Some(()) = window.recv() => queue.changed(),
                Some(()) = suspend.recv() => queue.suspend(),
                Some(()) = resume.recv() => queue.resume(),
                Some(()) = quit.recv() => quit_now(),
                else => false,
            };
            if !is_heard {
                return;
            }
        }
    });
    Ok(())
}

/// Stops the process as Ctrl-Z does, unless no shell could let it go on. The terminal's mode is left until [`mode::resume`].
pub(super) fn suspend() {
    // The system ignores SIGTSTP, too, in the group of a session's leader: no process is there that could send SIGCONT.
    if getsid(None).is_ok_and(|leader| leader == getpgrp()) {
        return;
    }
    mode::pause();
    if kill_process(getpid(), Signal::STOP).is_err() {
        mode::resume();
    }
}

/// Ends the process as SIGQUIT does, but for the core.
fn quit_now() -> bool {
    mode::leave();
    std::process::exit(128 + Signal::QUIT.as_raw())
}
