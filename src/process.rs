//! What the program asks of the system: descriptors enough, and signals to stop.

use std::io;

/// Descriptors beside those of connections: the listeners, the runtime's own, standard input and output.
const SPARE: u64 = 64;

/// Raises the limit of open files as far as the system allows, and warns if `connections` do not fit.
pub fn raise_open_files(connections: usize) {
    let wanted = (connections as u64).saturating_add(SPARE);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) if allowed < wanted => tracing::warn!(
            allowed,
            wanted,
            "the system allows too few open files for --max-connections: raise the hard limit (ulimit -Hn, LimitNOFILE= of \
             systemd, --ulimit nofile= of Docker), or lower --max-connections"
        ),
        Ok(allowed) => tracing::debug!(allowed, "open files"),
        Err(error) => tracing::warn!(%error, wanted, "cannot raise the limit of open files"),
    }
}

/// Ctrl-C, SIGTERM as service managers and containers send it, and SIGHUP when the terminal is closed, if it means nothing else.
#[cfg(unix)]
#[derive(Debug)]
pub struct StopRequests {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` where SIGHUP means something else, was ignored when this process started, as `nohup` does, or where that is not known.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl StopRequests {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// When the system has no place for a handler.
    pub fn listen() -> io::Result<Self> {
        Self::listen_to(may_handle_hangup())
    }

    /// Listens for signals from now on. SIGHUP is none of them: [`reload_requests`] has it.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_without_hangup() -> io::Result<Self> {
        Self::listen_to(false)
    }

    fn listen_to(hangup: bool) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if hangup { Some(signal(SignalKind::hangup())?) } else { None };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// Completes at the next request to stop.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            () = hangup => (),
        }
    }
}

/// Calls `reload` at each SIGHUP, by which operators and service managers tell a server to read its files again.
///
/// # Errors
/// When the system has no place for a handler.
#[cfg(unix)]
pub fn reload_requests(reload: impl Fn() + Send + 'static) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload();
        }
    });
    Ok(())
}

/// Does nothing: there is no SIGHUP here.
///
/// # Errors
/// Never here.
#[cfg(not(unix))]
pub fn reload_requests(_: impl Fn() + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Returns whether SIGHUP is known not to be ignored. Only Linux says so to a program without `unsafe`; elsewhere the signal
/// keeps what it does.
#[cfg(unix)]
fn may_handle_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignores_hangup(&status)) == Some(false)
}

/// Reads from the status of a process whether it ignores SIGHUP, which is signal 1 (proc_pid_status(5), `SigIgn`).
#[cfg(unix)]
fn ignores_hangup(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    Some(u64::from_str_radix(mask.trim(), 16).ok()? & 1 == 1)
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct StopRequests;

#[cfg(not(unix))]
impl StopRequests {
    /// Listens for Ctrl-C.
    ///
    /// # Errors
    /// Never here.
    pub fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Listens for Ctrl-C.
    ///
    /// # Errors
    /// Never here.
    pub fn listen_without_hangup() -> io::Result<Self> {
        Ok(Self)
    }

    /// Completes at the next request to stop.
    pub async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "cannot wait for Ctrl-C: end the process to stop the server");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_first_bit_of_the_mask_is_sighup() {
        for (status, expected) in [
            ("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0", Some(true)),
            ("SigIgn:\t0000000000001007\n", Some(true)),
            ("SigIgn:\t0000000000001000\n", Some(false)),
            ("SigIgn:\tx\n", None),
            ("SigCgt:\t1\n", None),
        ] {
            assert_eq!(ignores_hangup(status), expected, "{status}");
        }
    }
}
