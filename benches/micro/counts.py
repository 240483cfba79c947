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
# A change of more than this has to be explained.
TOLERANCE = 0.03
# A step is done so many times, and so many times again: once more for what is large.
FEW, MORE = 10, 100
LARGE_BYTES, FEW_LARGE, MORE_LARGE = 32 << 10, 2, 4
INTRO = """# Counts

What each step of an exchange takes, each time it runs: instructions (callgrind) and heap allocations (new blocks,
resized blocks, bytes). `scripts/counts` compares with this file, `scripts/counts --write` writes it;
[README.md](README.md) explains the columns.

Made with {made_with}. valgrind 3.19 does not emulate AVX-512, so code that
works on 64 bytes at once is counted as compiled for AVX2.

"""


def build(*packages):
    """As the product's release profile has it, with line numbers, and apart from what others build."""
    need("cargo", "install Rust from https://rustup.rs")
    need("valgrind", "install it, from your system's packages for instance")
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
    """Instructions of a program that does the step so many times."""
    with tempfile.TemporaryDirectory() as folder:
        done = output("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                      str(target(BENCHES) / "steps"), name, str(times))
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise Failure(f"callgrind does not say what it collected: {done.stderr.strip()}")
    return int(found[1])


def instructions(name, size):
    few, more = (FEW_LARGE, MORE_LARGE) if size >= LARGE_BYTES else (FEW, MORE)
    return (collected(name, few + more) - collected(name, few)) / more


def steps(only):
    """By name: what the columns of the table say."""
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
    """What the file says, by name."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: counts for name, *counts in cells[2:]}


def changes(before, now):
    """What is more than a little different, a line each."""
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
    """What the counts depend on beside the code."""
    compiler, valgrind = (output(program, "--version").stdout.strip() for program in ("rustc", "valgrind"))
    return f"{compiler}, {valgrind}, {os.uname().machine}"


def count_steps(options):
    """Whether all is as the committed file says."""
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
    need("addr2line", "install binutils")
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
        description="Counts the instructions and allocations of the steps of an exchange and compares them with "
                    "benches/counts.md; or the allocations of a whole server's exchange.",
    )
    parser.add_argument("mode", nargs="?", choices=["steps", "server"], default="steps")
    parser.add_argument("--write", action="store_true", help="write benches/counts.md instead")
    parser.add_argument("--only", default="", metavar="TEXT", help="steps with this in their name")
    parser.add_argument("--scenario", choices=allocations.SCENARIOS, default="get", help="the server's exchange")
    parser.add_argument("--requests", type=positive, default=500, metavar="N",
                        help="the server answers so many, then twice as many")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.mode == "server"):
        parser.error("--write is for all steps")
    if options.only and options.mode == "server":
        parser.error("--only is for steps")
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
