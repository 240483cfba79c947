"""Measures what the access log and the figures cost a small GET, round by round, and prints one table."""

import socket
import tempfile
import threading
import urllib.request
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from servers import BEFORE, Failure, build_load, build_ours, describe, measure, our_spec, progress, verdict
from tables import median, number, paired_ratios, spread, table

# Name: (the work as the table describes it, the load's arguments).
SCENARIOS = {
    "get-1x64": ("small GET, 1 tunnel, 64 visitors, µs", "relay --tunnels 1 --visitors 64"),
    "get-100x64": ("small GET, 100 tunnels, 64 visitors, µs", "relay --tunnels 100 --visitors 64"),
}


def seeing(options, cores):
    """Measures and prints; returns whether no run had errors."""
    build_load()
    ours, port = build_ours(), free_port()
    with tempfile.TemporaryDirectory(prefix="socket2me-bench-") as folder:
        log = Path(folder) / "log"

        def case(name, *flags, spec=ours):
            # A server with its usual log, in a file.
            program, _, level, *rest = spec.command
            return replace(spec, name=name, command=(program, "--log", "info", *rest, *flags), log=log)

        # The second is the first once more: their ratio shows how far two equal servers are apart.
        cases = [case("off", "--access-log", "off"), case("off, again", "--access-log", "off"), case("access log on"),
                 case("metrics scraped", "--access-log", "off", "--metrics-listen", f"127.0.0.1:{port}")]
        if options.before:
            cases.insert(2, case(BEFORE, spec=our_spec(BEFORE, options.before)))
        reports = {(scenario, spec.name): [] for scenario in SCENARIOS for spec in cases}
        for round_number in range(1, options.rounds + 1):
            for scenario, (_, words) in SCENARIOS.items():
                for spec in cases if round_number % 2 else reversed(cases):
                    arguments = words.split() + ["--secs", str(options.secs), "--warm", str(options.warm)]
                    with scraping(port) if "--metrics-listen" in spec.command else nullcontext():
                        report = measure(spec, cores, arguments, options.secs + options.warm)
                    reports[scenario, spec.name].append(report)
                    progress(f"round {round_number}, {scenario}, {spec.name}: {describe(report)}")
    print(render(cases, reports))
    return verdict({f"{scenario} of {name}": rounds for (scenario, name), rounds in reports.items()})


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def scraping(port):
    """Asks for the figures each second. Fails if there were none."""
    over, answered = threading.Event(), []

    def scrape():
        while not over.wait(1):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    answered.append(len(answer.read()))
            except OSError:
                # The server has not started, or has stopped.
                pass

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if not answered:
        raise Failure("the server has no figures")


def render(cases, reports):
    """Returns the table as Markdown: each case's median, and its ratio to the first case."""
    rows = []
    for scenario, (work, _) in SCENARIOS.items():
        base = reports[scenario, cases[0].name]
        row = [work]
        for spec in cases:
            rounds = reports[scenario, spec.name]
            ratio = "" if spec is cases[0] else f"; {spread(paired_ratios(rounds, base, 'cpu_us'))}"
            row.append(number(median(rounds, "cpu_us")) + ratio)
        rows.append(row)
    return table(["work"] + [spec.name for spec in cases], rows)
