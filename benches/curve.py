"""Measures how the cost of an exchange grows with tunnels, visitors, bytes and worker threads, for our server alone."""

from servers import Cores, describe, measure, progress, verdict
from tables import median, number, table

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"0": 0, "1 KiB": KIB, "10 KiB": 10 * KIB, "100 KiB": 100 * KIB, "1 MiB": MIB, "8 MiB": 8 * MIB}
# Arguments of the load. The largest bodies of eight visitors fit into the server's memory for bodies.
BODIES = "--tunnels 8 --visitors 8"
# Worker threads of the server.
WORKERS = (1, 2)


def axes():
    """Returns the axes of the curve by name. An axis is a title and points by label; a point is the load's arguments and
    the bytes of the body."""
    every = {
        "tunnels": ("tunnels, with 64 visitors",
                    {f"{count:,}": (f"--tunnels {count} --visitors 64", 0) for count in (1, 10, 100, 1000, 10_000)}),
        "visitors": ("visitors of one tunnel",
                     {f"{count:,}": (f"--tunnels 1 --visitors {count}", 0) for count in (1, 8, 64, 256, 512)}),
    }
    for side in ("request", "response"):
        for kind in ("text", "binary", "json"):
            if (side, kind) != ("response", "json"):
                every[f"{side}-{kind}"] = (f"bytes of a {kind} {side}, with 8 tunnels and 8 visitors", {
                    label: (f"{BODIES} --{side} {size} --{side}-kind {kind}", size)
                    for label, size in SIZES.items() if (kind, label) != ("json", "0")
                })
    return every


def curve(spec, chosen, options):
    """Measures and prints; returns whether no run had errors."""
    every = {axis: points for axis, points in axes().items() if axis in chosen}
    reports = {}
    for round_number in range(1, options.rounds + 1):
        for axis, (_, points) in every.items():
            for label, (words, _) in points.items():
                for workers in WORKERS:
                    words_all = ["relay", *words.split(), "--secs", str(options.secs), "--warm", str(options.warm)]
                    report = measure(spec, Cores.choose(workers), words_all, options.secs + options.warm)
                    reports.setdefault((axis, label, workers), []).append(report)
                    progress(f"round {round_number}, {axis} {label}, {threads(workers)}: {describe(report)}")
    for workers in WORKERS:
        print(f"- {Cores.choose(workers)}")
    print()
    for axis, (title, points) in every.items():
        print(render(axis, title, points, reports))
    return verdict({f"{axis} {label}, {threads(workers)}": all_rounds
                    for (axis, label, workers), all_rounds in reports.items()})


def threads(workers):
    return "1 thread" if workers == 1 else f"{workers} threads"


def render(axis, title, points, reports):
    """Returns the table of one axis as Markdown."""
    with_bytes = any(size for _, size in points.values())
    head, rows = [title], []
    for workers in WORKERS:
        head += [f"µs each, {threads(workers)}"] + (["ns a byte"] if with_bytes else []) + ["a second", "load cores"]
    for label, (_, size) in points.items():
        row = [label]
        for workers in WORKERS:
            rounds = reports[axis, label, workers]
            cost = median(rounds, "cpu_us")
            row.append(number(cost))
            if with_bytes:
                row.append(number(cost * 1e3 / size if cost and size else None))
            row += [number(median(rounds, "per_second")), number(median(rounds, "load_cores"))]
        rows.append(row)
    return table(head, rows)
