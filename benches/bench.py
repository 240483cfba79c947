"""The command line of scripts/bench."""

import argparse
import os
import signal
import sys

import compare
import curve
import forward
import hop
import model
import overhead
import seeing
import stores
import streams
import syscalls
from servers import (BEFORE, OURS, Cores, Failure, build_load, build_ours, install_node_peer, our_spec, peers,
                     raise_open_files)
from tables import machine

NODE = ("node-express", "node-plain")


def names_of(known):
    """Returns the type of an argument: names from `known`, separated by commas."""
    def parse(text):
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                known_names = ", ".join(known)
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; choose from {known_names}, separated by commas")
        return names

    return parse


def above(least, kind):
    """Returns the type of an argument: a number of this kind, and not less than `least`."""
    def parse(text):
        value = kind(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    # argparse's messages name the type.
    parse.__name__ = kind.__name__
    return parse


def parse(arguments):
    servers = list(dict.fromkeys([OURS, *peers(), *forward.TUNNELS]))
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures the server's cost beside that of its peers (compare), its scaling curve (curve), its "
                    "system calls (syscalls), `socket2me forward` beside other tunnels (forward), streams "
                    "beside acks (streams), what TLS and rules cost (overhead), what a hop between two nodes "
                    "costs (hop), or what a cluster of a thousand nodes asks of Redis, in simulated time (model).",
    )
    parser.add_argument("mode", nargs="?", choices=["compare", "curve", "forward", "hop", "model", "overhead", "seeing", "stores", "streams", "syscalls"],
                        default="compare",
                        help="what to measure (default: compare)")
    parser.add_argument("--rounds", type=above(1, int), default=3,
                        help="rounds; the tables show their medians (default: 3)")
    parser.add_argument("--secs", type=above(0.1, float),
                        help="seconds of each measurement (default: 5; 2 for the curve)")
    parser.add_argument("--warm", type=above(0, float),
                        help="seconds of load before each measurement (default: 2; 1 for the curve)")
    parser.add_argument("--workers", type=above(1, int), default=1, metavar="N",
                        help="worker threads of the server, with a core each (default: 1); the curve always has 1 and 2")
    parser.add_argument("--only", type=names_of(servers), metavar="A,B",
                        help=f"servers to measure: {', '.join([OURS, *peers()])}; "
                             f"for forward, tunnels: {', '.join(forward.TUNNELS)}")
    parser.add_argument("--before", metavar="BIN",
                        help="another build of our server, which is measured too; the tables show the ratio to it")
    parser.add_argument("--scenarios", type=names_of([*compare.SCENARIOS, *curve.axes(), *forward.SCENARIOS]), metavar="X,Y",
                        help=f"scenarios to measure: {', '.join(compare.SCENARIOS)}; "
                             f"for the curve: {', '.join(curve.axes())}; for forward: {', '.join(forward.SCENARIOS)}")
    parser.add_argument("--mib", type=above(1, int), default=1024, metavar="N",
                        help="MiB of each large body of forward (default: 1,024)")
    parser.add_argument("--requests", type=above(1000, int), default=40_000, metavar="N",
                        help="requests of each measurement of overhead (default: 40,000); a twentieth of them are connections")
    parser.add_argument("--nodes", type=above(20, int), default=1_000, metavar="N",
                        help="nodes of the model (default: 1,000)")
    parser.add_argument("--tunnels", type=above(1000, int), default=10_000_000, metavar="N",
                        help="tunnels of the model (default: 10,000,000), about 0.6 kB of memory each")
    parser.add_argument("--idle", type=above(1, int), default=10_000, metavar="N",
                        help="idle tunnels (default: 10,000)")
    parser.add_argument("--idle-secs", type=above(0, float), default=28,
                        help="seconds to hold the idle tunnels (default: 28); a heartbeat comes after 25")
    options = parser.parse_args(arguments)
    if options.mode == "stores" and (options.scenarios or options.before or options.only):
        parser.error("stores measures our server alone, in scenarios of its own: use it without --scenarios, --before and --only")
    if options.mode == "streams" and (options.scenarios or options.before or options.only):
        parser.error("streams measures our server alone, in scenarios of its own: use it without --scenarios, --before and --only")
    if options.mode in ("hop", "model") and (options.scenarios or options.before or options.only):
        parser.error(f"{options.mode} measures our server alone, in scenarios of its own: use it without --scenarios, --before and --only")
    if options.mode == "overhead" and (options.scenarios or options.before or options.only):
        parser.error("overhead measures our server alone, in scenarios of its own: use it without --scenarios, --before and --only")
    if options.mode == "seeing" and (options.scenarios or options.only):
        parser.error("seeing measures our server alone, in scenarios of its own: use it without --scenarios and --only")
    known = {"curve": curve.axes(), "forward": forward.SCENARIOS}.get(options.mode, compare.SCENARIOS)
    servers = forward.TUNNELS if options.mode == "forward" else [OURS, *peers()]
    for name in options.only or []:
        if name not in servers:
            parser.error(f"{name} is not measured by {options.mode}; choose from {', '.join(servers)}")
    if options.mode == "syscalls" and options.scenarios:
        parser.error("syscalls has only one scenario, 64 visitors on one tunnel: use it without --scenarios")
    if options.mode == "curve" and (options.before or options.only):
        parser.error("the curve measures our server alone: use it without --before and --only")
    options.scenarios = options.scenarios or list(known)
    for name in options.scenarios:
        if name not in known:
            parser.error(f"{name} is no scenario of {options.mode}; choose from {', '.join(known)}")
    available = len(os.sched_getaffinity(0))
    if options.workers > available:
        parser.error(f"--workers {options.workers} needs as many cores, and this process may use {available}")
    if options.secs is None:
        options.secs = 2 if options.mode == "curve" else 5
    if options.warm is None:
        options.warm = 1 if options.mode == "curve" else 2
    return options


def wanted_servers(options):
    """Builds and installs the servers to measure, and returns their specs in the order of the table."""
    default = {"compare": [OURS, *peers()], "curve": [OURS], "syscalls": [OURS, "socketioxide", "limit-relay"]}
    wanted = options.only or default[options.mode]
    if any(name in NODE for name in wanted):
        missing = install_node_peer()
        if missing and options.only:
            raise Failure(f"the Node peers cannot be measured, because {missing}: install Node.js 20 and npm, or leave "
                          "them out of --only")
        if missing:
            print(f"The Node peers are not measured, because {missing}.\n")
            wanted = [name for name in wanted if name not in NODE]
    build_load()
    specs = peers()
    if OURS in wanted:
        specs = {OURS: build_ours(), **specs}
    if options.before:
        specs, wanted = {BEFORE: our_spec(BEFORE, options.before), **specs}, [BEFORE, *wanted]
    return [spec for name, spec in specs.items() if name in wanted]


def bench(options):
    """Measures and prints; returns whether no run had errors."""
    if options.mode not in ("forward", "streams", "syscalls"):
        tunnels = options.idle if compare.IDLE in options.scenarios else 10_000 if "tunnels" in options.scenarios else 0
        files = raise_open_files()
        if files < tunnels + 200:
            raise Failure(f"{tunnels} tunnels and the visitors need {tunnels + 200} open files, and {files} are allowed: "
                          "raise `ulimit -Hn`, or measure fewer idle tunnels with --idle")
    cores = Cores.choose(options.workers)
    if options.mode == "stores":
        print(f"{machine()}; {options.secs:g} s after {options.warm:g} s of warm-up; rounds: {options.rounds}; {cores}.\n", flush=True)
        return stores.stores(options, cores)
    if options.mode == "overhead":
        print(f"{machine()}; {options.requests:,} requests; rounds: {options.rounds}; {cores}.\n", flush=True)
        return overhead.overhead(options, cores)
    if options.mode == "model":
        print(f"{machine()}.\n", flush=True)
        return model.model(options, cores)
    if options.mode == "hop":
        print(f"{machine()}; {options.requests:,} requests; rounds: {options.rounds}; {cores}.\n", flush=True)
        return hop.hop(options, cores)
    if options.mode == "seeing":
        print(f"{machine()}; {options.secs:g} s after {options.warm:g} s of warm-up; rounds: {options.rounds}; {cores}.\n", flush=True)
        return seeing.seeing(options, cores)
    if options.mode == "streams":
        print(f"{machine()}; {options.secs:g} s; rounds: {options.rounds}; {cores}.\n", flush=True)
        return streams.streams(options, cores)
    if options.mode == "forward":
        core, last = (", ".join(map(str, sorted(where))) for where in (cores.server, cores.load))
        print(f"{machine()}; {options.secs:g} s after {options.warm:g} s of warm-up; rounds: {options.rounds}; both ends "
              f"of a tunnel on core {core}, each with {options.workers} worker thread{'s' * (options.workers > 1)}; app "
              f"and load on core {last}.\n", flush=True)
        return forward.forward(options, cores)
    specs = wanted_servers(options)
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
    # Signals become KeyboardInterrupt, so that the servers are stopped. SIGINT is set too, because a shell starts
    # background jobs with SIGINT ignored.
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
