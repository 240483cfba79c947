"""Counts the heap allocations of one exchange in a whole server, by place, with valgrind's dhat."""

import json
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from servers import BENCHES, Failure, Server, Spec, progress, target
from tables import number

# Name: the arguments of `load relay`.
SCENARIOS = {
    "get": [],
    "post-10k": ["--request", "10240", "--echo"],
    "text-1m": ["--response", "1048576"],
    "binary-64k": ["--response", "65536", "--response-kind", "binary"],
    "polling": ["--transport", "polling"],
}
# Time for the server to end under valgrind, and for dhat to write its file then.
STOP_SECS = 60
# Frames of each stack that dhat records: enough to reach from an allocation to the server's own code.
CALLERS = 40
# Code that allocates on behalf of its caller. An allocation is named after the first caller outside of it.
PASSING = re.compile(r"(library/(alloc|core|std)/|(bytes|bytestring|hashbrown)-\d|\?\?)")
CALLERS_SHOWN = 3
# A site below both is not printed: it belongs to the server's start or end, or to a table that grew.
LEAST_BLOCKS, LEAST_BYTES = 0.02, 1
# The server's own code, without the codecs in src/proto.
ROOMS = ("src/net/", "src/engine/", "src/relay/")


def profile(spec, words, requests, cores):
    """Runs the server under dhat, and returns the counts of blocks and bytes by stack. A stack is a tuple of addresses in
    the program, innermost first."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dhat.json"
        tool = ("valgrind", "--tool=dhat", f"--dhat-out-file={file}", f"--num-callers={CALLERS}", "--log-file=/dev/null")
        with Server(Spec(spec.name, (*tool, *spec.command), spec.transport), cores) as server:
            base = loaded_at(server.process.pid, spec.command[0])
            report = server.load(["relay", "--requests", str(requests), *words], STOP_SECS)
            server.process.terminate()
            try:
                server.process.wait(STOP_SECS)
            except subprocess.TimeoutExpired:
                raise Failure(f"the server did not stop within {STOP_SECS} s of SIGTERM") from None
        if "failed" in report or report["answered"] != requests:
            raise Failure(report.get("failed") or f"{report['answered']} of {requests} requests were answered")
        progress(f"{requests} requests")
        written = json.loads(file.read_text())
    counts = defaultdict(Counter)
    for point in written["pps"]:
        # An inlined frame has the same address as the function that it is inlined into.
        addresses = (written["ftbl"][frame].partition(":")[0] for frame in point["fs"])
        stack = dict.fromkeys(int(address, 16) - base for address in addresses if address.startswith("0x"))
        counts[tuple(stack)].update(blocks=point["tbk"], bytes=point["tb"])
    return counts


def loaded_at(pid, program):
    """Returns the address at which a process has mapped its program."""
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(program):
                return int(line.split("-")[0], 16)
    raise Failure(f"/proc/{pid}/maps does not list {program}")


def resolve(program, addresses):
    """Returns the functions at each address with their places, innermost first. dhat itself does not name the functions
    that LTO has inlined."""
    # An address below the program's belongs to a library.
    addresses = [address for address in addresses if address >= 0]
    command = ["addr2line", "-a", "-i", "-f", "-C", "-e", program, *map(hex, addresses)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"addr2line: {done.stderr.strip()}")
    frames, lines, rest = {}, iter(done.stdout.splitlines()), iter(addresses)
    for line in lines:
        if line.startswith("0x"):
            frames[current := next(rest)] = []
        else:
            frames[current].append(f"{line} ({short(next(lines))})")
    return frames


def short(place):
    """Returns a place without the parts of its path that belong to this machine."""
    place = place.partition(" (discriminator")[0]
    for pattern in (r".*/registry/src/[^/]*/", r"^/rustc/[^/]*/", re.escape(str(BENCHES.parent)) + "/"):
        place = re.sub(f"^{pattern}", "", place)
    return place


def function(frame):
    return frame.rpartition(" (")[0]


def place(frame):
    return frame.rpartition(" (")[2]


def site(stack, frames):
    """Returns the function that asked for the memory, and its callers. The innermost of the server's own functions is
    always among them, if need be as the last."""
    every = [frame for address in stack for frame in frames.get(address, [])]
    callers = [frame for frame in every if not PASSING.match(place(frame))]
    if not callers:
        return ("unknown",)
    first, *shown = callers[:CALLERS_SHOWN]
    asked = every.index(first)
    means = f", by {function(every[asked - 1])}" if asked else ""
    ours = next((frame for frame in callers if place(frame).startswith(ROOMS)), None)
    if ours and not any(place(frame).startswith("src/") for frame in (first, *shown)):
        shown.append(ours)
    return (first + means, *shown)


def report(scenario, requests, cores):
    """Counts the allocations of one exchange, and prints them with their places."""
    program = str(target(BENCHES) / "counted-server")
    spec = Spec("counted-server", (program, "--log", "error", "serve", "--listen", "127.0.0.1:0", "--store", "memory"), "ws")
    words = SCENARIOS[scenario]
    few = profile(spec, words, requests, cores)
    many = profile(spec, words, 2 * requests, cores)
    each = {}
    for stack in few.keys() | many.keys():
        counts = tuple((many[stack][what] - few[stack][what]) / requests for what in ("blocks", "bytes"))
        if any(counts):
            each[stack] = counts
    frames = resolve(program, sorted({address for stack in each for address in stack}))
    sites = defaultdict(lambda: [0, 0])
    for stack, (blocks, size) in each.items():
        of_site = sites[site(stack, frames)]
        of_site[0] += blocks
        of_site[1] += size
    blocks, size = (sum(counts[index] for counts in sites.values()) for index in (0, 1))
    print(f"Allocations of one exchange, {scenario}: {number(blocks)} blocks, {number(size)} bytes\n")
    for callers, (blocks, size) in sorted(sites.items(), key=lambda item: [-count for count in item[1]]):
        if abs(blocks) < LEAST_BLOCKS and abs(size) < LEAST_BYTES:
            continue
        print(f"{blocks:6.2f} blocks {size:9,.0f} bytes  {callers[0]}")
        for caller in callers[1:]:
            print(f"{'':31}< {caller}")
