//! CPU time and memory, from Linux's /proc.

use std::fs;
use std::io;
use std::ops::Sub;

use crate::http::bad;

/// /proc counts CPU time in hundredths of a second, independent of the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds used so far.
#[derive(Clone, Copy)]
pub struct Usage {
    pub server: f64,
    pub load: f64,
    /// By all processes, and by the host of a virtual machine.
    pub machine: f64,
}

impl Usage {
    pub fn now(pid: u32) -> io::Result<Self> {
        let server = process(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
        let load = process(&fs::read_to_string("/proc/self/stat")?)?;
        Ok(Self { server, load, machine: machine(&fs::read_to_string("/proc/stat")?)? })
    }

    /// CPU seconds used by neither the server nor the load.
    pub fn others(&self) -> f64 {
        self.machine - self.server - self.load
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            server: self.server - before.server,
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
