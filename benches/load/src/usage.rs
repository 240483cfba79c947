//! CPU time and memory, from Linux's /proc.

use std::fs;
use std::io;
use std::ops::Sub;

use crate::http::bad;

/// /proc counts CPU time in hundredths of a second, independent of the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes whose CPU time is measured, beside the load's own.
#[derive(Clone, Copy, Default)]
pub struct Watched {
    pub server: Option<u32>,
    /// The local end of a tunnel.
    pub client: Option<u32>,
    /// The app behind a tunnel.
    pub app: Option<u32>,
}

impl From<u32> for Watched {
    fn from(server: u32) -> Self {
        Self { server: Some(server), ..Self::default() }
    }
}

/// CPU seconds used so far. A process that is not watched counts as 0.
#[derive(Clone, Copy)]
pub struct Usage {
    pub server: f64,
    pub client: f64,
    pub app: f64,
    pub load: f64,
    /// By all processes, and by the host of a virtual machine.
    pub machine: f64,
}

impl Usage {
    pub fn now(watched: Watched) -> io::Result<Self> {
        let of = |pid: Option<u32>| match pid {
            Some(pid) => process(&fs::read_to_string(format!("/proc/{pid}/stat"))?),
            None => Ok(0.0),
        };
        Ok(Self {
            server: of(watched.server)?,
            client: of(watched.client)?,
            app: of(watched.app)?,
            load: process(&fs::read_to_string("/proc/self/stat")?)?,
            machine: machine(&fs::read_to_string("/proc/stat")?)?,
        })
    }

    /// CPU seconds used by programs that are neither watched nor the load.
    pub fn others(&self) -> f64 {
        self.machine - self.server - self.client - self.app - self.load
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            server: self.server - before.server,
            client: self.client - before.client,
            app: self.app - before.app,
            load: self.load - before.load,
            machine: self.machine - before.machine,
        }
    }
}

/// Returns user and system time of a process with all its threads (proc(5): fields 14 and 15; field 2, a name, may contain
/// spaces).
fn process(stat: &str) -> io::Result<f64> {
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or_else(|| bad("/proc/PID/stat"))?;
    Ok(fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<f64>).sum::<f64>() / TICKS_PER_SECOND)
}

/// Returns all CPU time but idle and iowait. Time of guests is left out, because user time includes it.
fn machine(stat: &str) -> io::Result<f64> {
    let line = stat.lines().next().ok_or_else(|| bad("/proc/stat"))?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().sum::<f64>() - idle) / TICKS_PER_SECOND)
}

/// Returns the resident memory of a process, in kB.
pub fn resident_kb(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| bad("/proc/PID/status"))
}
