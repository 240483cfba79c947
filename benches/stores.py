"""Measures our server with each store, with and without keys, round by round, and prints one table."""

import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which

from servers import Spec, build_load, build_ours, child_setup, describe, measure, progress, verdict
from tables import median, number, paired_ratios, spread, table

# Name: (the work as the table describes it, the load's arguments, what is measured).
SCENARIOS = {
    "get-1x64": ("small GET, 1 tunnel, 64 visitors, µs", "relay --tunnels 1 --visitors 64", "cpu_us"),
    "churn": ("connect + leave, µs", "churn --ends 16", "cpu_us"),
    "idle": ("idle tunnel, kB of RSS", "idle", "kb_each"),
}


@dataclass(frozen=True)
class Case:
    """A server with a store, and whether its tunnels have keys."""

    name: str
    spec: Spec
    keys: bool


@contextmanager
def redis(cores, program="redis-server"):
    """Runs a Redis server that writes nothing to the disk, on the load's cores, and returns its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=child_setup(cores.load))
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def stores(options, cores):
    """Measures and prints; returns whether no run had errors."""
    build_load()
    ours = build_ours()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="socket2me-bench-")))
        places = {"memory": "memory", "file": f"file:{folder / 'tunnels.redb'}"}
        if which("redis-server"):
            places["redis"] = stack.enter_context(redis(cores))
        else:
            print("Redis is not measured: redis-server is not installed.\n")
        cases = [Case(f"{store}{', keys' if keys else ''}",
                      replace(ours, name=store, command=(*ours.command, "--store", place)), keys)
                 for store, place in places.items() for keys in (False, True)]
        reports = {(scenario, case.name): [] for scenario in SCENARIOS for case in cases}
        for round_number in range(1, options.rounds + 1):
            for scenario in SCENARIOS:
                for case in cases if round_number % 2 else reversed(cases):
                    # What an earlier run has left would be read at the start.
                    for file in folder.iterdir():
                        file.unlink()
                    words, secs = arguments(scenario, case, options)
                    report = measure(case.spec, cores, words, secs)
                    reports[scenario, case.name].append(report)
                    progress(f"round {round_number}, {scenario}, {case.name}: {describe(report)}")
    print(render(cases, reports))
    return verdict({f"{scenario} of {name}": rounds for (scenario, name), rounds in reports.items()})


def arguments(scenario, case, options):
    words = SCENARIOS[scenario][1].split() + (["--keys"] if case.keys else [])
    if scenario == "idle":
        return words + ["--tunnels", str(options.idle), "--secs", str(options.idle_secs)], options.idle_secs
    return words + ["--secs", str(options.secs), "--warm", str(options.warm)], options.secs + options.warm


def render(cases, reports):
    """Returns the table as Markdown: each case's median, and its ratio to the first case."""
    rows = []
    for scenario, (work, _, key) in SCENARIOS.items():
        base = reports[scenario, cases[0].name]
        row = [work]
        for case in cases:
            rounds = reports[scenario, case.name]
            ratio = "" if case is cases[0] else f"; {spread(paired_ratios(rounds, base, key))}"
            row.append(number(median(rounds, key)) + ratio)
        rows.append(row)
    return table(["work"] + [case.name for case in cases], rows)
