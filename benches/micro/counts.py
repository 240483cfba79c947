"""The command line of scripts/counts."""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MICRO = Path(__file__).resolve().parent
sys.path.insert(0, str(MICRO.parent))

import allocations
from servers import BENCHES, Cores, Failure, need, run, target
from tables import number, table

TABLE = BENCHES / "counts.md"
HEAD = ["step", "instructions", "blocks", "blocks resized", "bytes"]
# A count that changes by more than this part fails the run: the change has to be explained and committed.
TOLERANCE = 0.03
# Each step runs FEW times in one process and FEW + MORE times in another; the difference is the cost of MORE runs.
FEW, MORE = 10, 100
# A step on at least this many bytes runs fewer times, because valgrind is slow.
LARGE_BYTES, FEW_LARGE, MORE_LARGE = 32 << 10, 2, 4
INTRO = """# Counts

The cost of one run of each step of an exchange: instructions (callgrind) and heap allocations (new blocks, resized
blocks, bytes). `scripts/counts` compares its results with this file, and `scripts/counts --write` writes it.
[README.md](README.md) explains the columns.

Made with {made_with}.
valgrind 3.19 does not emulate AVX-512, so code that works on 64 bytes at once is counted as compiled for AVX2.

"""


def build(*packages):
    """Builds with the product's release profile plus line numbers, in a target folder apart from that of other builds."""
    need("cargo", "install Rust from https://rustup.rs")
    need("valgrind", "install it, for example with `apt-get install valgrind`")
    base = os.environ.get("CARGO_TARGET_DIR") or BENCHES / "target"
    os.environ["CARGO_TARGET_DIR"] = str(Path(base).resolve() / "counts")
    os.environ["CARGO_PROFILE_RELEASE_DEBUG"] = "1"
    os.environ["CARGO_PROFILE_RELEASE_PANIC"] = "unwind"
    words = [word for package in packages for word in ("-p", package)]
    run(["cargo", "build", "--locked", "--release", *words], BENCHES)


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done


def collected(name, times):
    """Returns the instructions of a whole process that runs the step this many times."""
    with tempfile.TemporaryDirectory() as folder:
        done = output("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                      str(target(BENCHES) / "steps"), name, str(times))
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise Failure(f"callgrind printed no line `Collected : N`: {done.stderr.strip()}")
    return int(found[1])


def instructions(name, size):
    """Returns the instructions of one run of a step."""
    few, more = (FEW_LARGE, MORE_LARGE) if size >= LARGE_BYTES else (FEW, MORE)
    return (collected(name, few + more) - collected(name, few)) / more


def steps(only):
    """Counts the steps with `only` in their name, and returns the columns of the table by name."""
    heap = {}
    for line in output(str(target(BENCHES) / "allocations")).stdout.splitlines():
        name, *counts = line.split("\t")
        heap[name] = [float(count) for count in counts]
    rows = {}
    for line in output(str(target(BENCHES) / "steps")).stdout.splitlines():
        name, size = line.split("\t")
        if only in name:
            rows[name] = [number(value) for value in (instructions(name, int(size)), *heap[name])]
            print(f"{name}: {rows[name][0]}", file=sys.stderr, flush=True)
    return rows


def committed():
    """Returns the rows of counts.md by name, without rows if there is no such file."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: counts for name, *counts in cells[2:]}


def changes(before, now):
    """Yields a line for each count that differs by more than TOLERANCE, and for each step that is new or gone."""
    for name in before | now:
        if name not in before or name not in now:
            yield f"- {name}: {'new' if name in now else 'gone'}"
            continue
        for column, old, new in zip(HEAD[1:], before[name], now[name]):
            a, b = (float(text.replace(",", "")) for text in (old, new))
            if abs(b - a) > TOLERANCE * a:
                by = f" ({(b - a) / a:+.1%})" if a else ""
                yield f"- {name}, {column}: {old} → {new}{by}"


def made_with():
    """Returns what the counts depend on besides the code."""
    compiler, valgrind = (output(program, "--version").stdout.strip() for program in ("rustc", "valgrind"))
    return f"{compiler}, {valgrind}, {os.uname().machine}"


def count_steps(options):
    """Counts the steps; returns false when a count differs from counts.md by more than TOLERANCE."""
    build("micro")
    now = steps(options.only)
    if options.write:
        TABLE.write_text(INTRO.format(made_with=made_with()) + table(HEAD, [[name, *row] for name, row in now.items()]))
        return True
    print(table(HEAD, [[name, *row] for name, row in now.items()]))
    before = {name: row for name, row in committed().items() if options.only in name}
    found = list(changes(before, now))
    if found:
        print(f"Changed by more than {TOLERANCE:.0%}:\n\n" + "\n".join(found))
    return not found


def count_server(options):
    """Counts the allocations of one exchange in a whole server."""
    need("addr2line", "install it, for example with `apt-get install binutils`")
    build("micro", "load")
    every = frozenset(os.sched_getaffinity(0))
    allocations.report(options.scenario, options.requests, Cores(every, every, 1))
    return True


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/counts",
        description="Counts the instructions and allocations of each step of an exchange, and compares them with "
                    "benches/counts.md. In the mode `server`, counts the allocations of one exchange in a whole "
                    "server.",
    )
    parser.add_argument("mode", nargs="?", choices=["steps", "server"], default="steps",
                        help="what to count (default: steps)")
    parser.add_argument("--write", action="store_true", help="write the counts to benches/counts.md, not compare them")
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="only steps with this text in their name, such as 'small GET'")
    parser.add_argument("--scenario", choices=allocations.SCENARIOS, default="get",
                        help="the exchange that the server serves (default: get)")
    parser.add_argument("--requests", type=positive, default=500, metavar="N",
                        help="requests of the first run; the second has twice as many (default: 500)")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.mode == "server"):
        parser.error("--write counts all steps: use it without --only and without `server`")
    if options.only and options.mode == "server":
        parser.error("--only chooses steps: use it without `server`")
    return options


def main():
    options = parse(sys.argv[1:])
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    try:
        return 0 if {"steps": count_steps, "server": count_server}[options.mode](options) else 1
    except Failure as failure:
        print(f"scripts/counts: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("scripts/counts: stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
