"""The command line of scripts/bench."""

import argparse
import os
import signal
import sys

import compare
import curve
import syscalls
from servers import BEFORE, OURS, Cores, Failure, build_load, build_ours, install_node_peer, our_spec, peers, raise_open_files
from tables import machine

NODE = ("node-express", "node-plain")


def names_of(known):
    def parse(text):
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name}; there are {', '.join(known)}")
        return names

    return parse


def above(least, kind):
    def parse(text):
        value = kind(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = kind.__name__
    return parse


def parse(arguments):
    servers = [OURS, *peers()]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures the server: beside its peers, its scaling curve, or its system calls.",
    )
    parser.add_argument("mode", nargs="?", choices=["compare", "curve", "syscalls"], default="compare")
    parser.add_argument("--rounds", type=above(1, int), default=3, help="how often everything is measured; the tables have the medians")
    parser.add_argument("--secs", type=above(0.1, float), help="measured each time (default 5; 2 for the curve)")
    parser.add_argument("--warm", type=above(0, float), help="seconds of load before that (default 2; 1 for the curve)")
    parser.add_argument("--workers", type=above(1, int), default=1, metavar="N",
                        help="worker threads and cores of the server, except for the curve, which has both 1 and 2")
    parser.add_argument("--only", type=names_of(servers), metavar="A,B", help=", ".join(servers))
    parser.add_argument("--before", metavar="BIN",
                        help="another build of our server: measured too, with the ratio to it in each round")
    parser.add_argument("--scenarios", type=names_of([*compare.SCENARIOS, *curve.axes()]), metavar="X,Y",
                        help=f"{', '.join(compare.SCENARIOS)}; for the curve {', '.join(curve.axes())}")
    parser.add_argument("--idle", type=above(1, int), default=10_000, metavar="N", help="idle tunnels")
    parser.add_argument("--idle-secs", type=above(0, float), default=28,
                        help="how long they are held; a heartbeat comes after 25")
    options = parser.parse_args(arguments)
    known = curve.axes() if options.mode == "curve" else compare.SCENARIOS
    if options.mode == "syscalls" and options.scenarios:
        parser.error("syscalls has one scenario: 64 visitors on one tunnel")
    if options.mode == "curve" and options.before:
        parser.error("the curve is of our server alone")
    if options.mode == "curve" and options.only:
        parser.error("the curve is of our server alone")
    options.scenarios = options.scenarios or list(known)
    for name in options.scenarios:
        if name not in known:
            parser.error(f"{name} is no scenario of {options.mode}; there are {', '.join(known)}")
    if options.workers > len(os.sched_getaffinity(0)):
        parser.error(f"there are {len(os.sched_getaffinity(0))} cores here, less than --workers {options.workers}")
    if options.secs is None:
        options.secs = 2 if options.mode == "curve" else 5
    if options.warm is None:
        options.warm = 1 if options.mode == "curve" else 2
    return options


def wanted_servers(options):
    """Builds and installs them, in the order of the table."""
    default = {"compare": [OURS, *peers()], "curve": [OURS], "syscalls": [OURS, "socketioxide", "limit-relay"]}
    wanted = options.only or default[options.mode]
    if any(name in NODE for name in wanted):
        missing = install_node_peer()
        if missing and options.only:
            raise Failure(f"the Node peers cannot be measured: {missing}")
        if missing:
            print(f"Without the Node peers: {missing}.\n")
            wanted = [name for name in wanted if name not in NODE]
    build_load()
    specs = peers()
    if OURS in wanted:
        specs = {OURS: build_ours(), **specs}
    if options.before:
        specs, wanted = {BEFORE: our_spec(BEFORE, options.before), **specs}, [BEFORE, *wanted]
    return [spec for name, spec in specs.items() if name in wanted]


def bench(options):
    if options.mode != "syscalls":
        tunnels = options.idle if compare.IDLE in options.scenarios else 10_000 if "tunnels" in options.scenarios else 0
        files = raise_open_files()
        if files < tunnels + 200:
            raise Failure(f"{tunnels} tunnels need as many open files, and {files} are allowed here (ulimit -Hn)")
    specs, cores = wanted_servers(options), Cores.choose(options.workers)
    print(f"{machine()}; {options.secs:g} s after {options.warm:g} s of warm-up", end="")
    if options.mode == "curve":
        print(f"; rounds: {options.rounds}.\n")
        return curve.curve(specs[0], options.scenarios, options)
    if options.mode == "syscalls":
        print(f"; {cores}.\n")
        return syscalls.syscalls(specs, cores, options)
    print(f"; rounds: {options.rounds}; {cores}.\n", flush=True)
    return compare.compare(specs, options.scenarios, cores, options)


def main():
    options = parse(sys.argv[1:])
    # What was started is stopped on the way out; a shell's background jobs start with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return 0 if bench(options) else 1
    except Failure as failure:
        print(f"scripts/bench: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("scripts/bench: stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
