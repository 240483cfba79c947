//! The process, as the system sees it: what Prometheus' client libraries export under the same names. Linux alone has it.

use std::fmt;

use super::families::Families;

#[cfg(not(target_os = "linux"))]
pub(super) fn write(_: &mut Families<'_>) -> fmt::Result {
    Ok(())
}

/// Writes what the system tells. What it does not tell is left out.
#[cfg(target_os = "linux")]
pub(super) fn write(out: &mut Families<'_>) -> fmt::Result {
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else { return Ok(()) };
    if let Ok(stat) = process.stat() {
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let cpu = seconds(stat.utime + stat.stime);
        out.counter("process_cpu_seconds", "Processor time that the process has used", cpu)?;
        let resident = stat.rss * procfs::page_size();
        out.gauge("process_resident_memory_bytes", "Memory of the process, in bytes", resident)?;
        if let Ok(booted) = procfs::boot_time_secs() {
            let start = booted as f64 + seconds(stat.starttime);
            out.gauge("process_start_time_seconds", "When the process started, in seconds since 1970", start)?;
        }
    }
    if let Ok(open) = process.fd_count() {
        out.gauge("process_open_fds", "Open descriptors", open)?;
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        out.gauge("process_max_fds", "Descriptors that may be open", most)?;
    }
    Ok(())
}
