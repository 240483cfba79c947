"""Counts the server's system calls of one exchange, with 64 visitors on one tunnel."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from servers import Failure, Server, child_setup, describe, progress
from tables import number, table

# Time for the tracer to attach to the server, and to print its counts at the end.
ATTACH_SECS = 10
# The system calls that are counted by name. The others are the difference to the total.
LIKELY = ("accept4 brk close epoll_ctl epoll_wait epoll_pwait futex madvise mmap mprotect munmap read readv recvfrom "
          "recvmsg sched_yield sendmsg sendto setsockopt shutdown write writev").split()
EVENTS = (Path("/sys/kernel/tracing/events"), Path("/sys/kernel/debug/tracing/events"))


def perf_events():
    """Returns the kernel's tracepoints for perf, which slow the server little, or None if perf cannot use them."""
    for folder in EVENTS:
        if shutil.which("perf") and os.access(folder / "raw_syscalls", os.R_OK):
            names = [name for name in LIKELY if (folder / "syscalls" / f"sys_enter_{name}").exists()]
            events = ["raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{name}" for name in names]
            trial = ["perf", "stat", "-e", ",".join(events), "--", "true"]
            if subprocess.run(trial, capture_output=True).returncode == 0:
                return events
    return None


def perf_counts(text):
    """Parses the output of `perf stat -x,`. Returns the counts by name, and the total under None."""
    counts = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit() and ":sys_enter" in fields[2]:
            name = fields[2].rpartition("sys_enter")[2].removeprefix("_") or None
            counts[name] = int(fields[0])
    return counts


def strace_counts(text):
    """Parses the output of `strace -c`. Returns the counts by name, and the total under None."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", text, re.MULTILINE)
    counts = {name: int(count) for count, name in rows if name != "total"}
    return counts | {None: sum(counts.values())}


def tracer_of(pid):
    """Returns the id of the process that traces another one, or 0."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("TracerPid:"))


def count(server, events, words, secs):
    """Returns the load's report, and the server's system calls during the load."""
    pid = str(server.process.pid)
    command = ["perf", "stat", "-x,", "-e", ",".join(events)] if events else ["strace", "-c", "-f"]
    env = dict(os.environ, LC_ALL="C")
    # The tracer runs on the load's core, where it disturbs the server least.
    tracer = subprocess.Popen(
        [*command, "-p", pid], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=child_setup(server.cores.load),
    )
    try:
        deadline = time.monotonic() + ATTACH_SECS
        # perf does not tell whether it counts yet, so it gets half a second. It could miss only the load's start.
        while not events and not tracer_of(pid) and time.monotonic() < deadline and tracer.poll() is None:
            time.sleep(0.05)
        if events:
            time.sleep(0.5)
        if tracer.poll() is not None:
            raise Failure(f"{command[0]} did not attach to the server; it may need root: {tracer.stderr.read().strip()}")
        report = server.load(words, secs)
        tracer.send_signal(signal.SIGINT)
        _, text = tracer.communicate(timeout=ATTACH_SECS)
    finally:
        tracer.kill()
        tracer.wait()
    return report, perf_counts(text) if events else strace_counts(text)


def syscalls(specs, cores, options):
    """Measures and prints; returns whether no run had errors."""
    events = perf_events()
    if not events and not shutil.which("strace"):
        raise Failure("neither perf's tracepoints nor strace can be used: run as root with perf installed, or install "
                      "strace")
    secs, good = options.secs + options.warm, True
    columns = []
    for spec in specs:
        words = ["relay", "--tunnels", "1", "--visitors", "64", "--transport", spec.transport,
                 "--secs", str(options.secs), "--warm", str(options.warm)]
        with Server(spec, cores) as server:
            report, calls = count(server, events, words, secs)
        progress(f"{spec.name}: {describe(report)}")
        if "failed" in report or not calls.get(None):
            print(f"{spec.name} is excluded: {report.get('failed') or 'no calls were counted'}\n")
            good = False
            continue
        # Calls and answers both count the whole run, with its start and its warm-up.
        columns.append((spec.name, {name: calls[name] / report["answered"] for name in calls}, report))
    if columns:
        print("Counted by " + ("perf stat with the kernel's tracepoints." if events else
              "strace, which slows the server down several times. More work waits for the server at each turn, so it "
              "batches more, and the figures are a lower bound.") + "\n")
        names = {name for _, each, _ in columns for name in each if name and each[name] >= 0.005}
        rows = [[name] + [number(each.get(name, 0)) for _, each, _ in columns]
                for name in sorted(names, key=lambda name: -columns[0][1].get(name, 0))]
        others = [each[None] - sum(each.get(name, 0) for name in names) for _, each, _ in columns]
        rows.append(["others"] + [number(max(value, 0)) for value in others])
        rows.append(["**all**"] + [f"**{each[None]:.2f}**" for _, each, _ in columns])
        rows.append(["exchanges a second"] + [number(report["per_second"]) for *_, report in columns])
        print(table(["calls of one exchange"] + [name for name, *_ in columns], rows))
    return good
