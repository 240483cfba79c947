"""Builds the servers, starts each on its cores, runs the load against it, and stops it."""

import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
ROOT = BENCHES.parent
NODE_PEER = BENCHES / "peers" / "node"

OURS = "socket2me"
# Another build of our server, to measure a change against.
BEFORE = "before"
# Time for a server to print its address, and to end after SIGTERM before it is killed.
START_SECS = 15
STOP_SECS = 3
# A measurement is repeated, up to ATTEMPTS in all, if programs other than the server and the load used more cores
# than this.
NOISE_CORES = 0.25
ATTEMPTS = 3


class Failure(Exception):
    """Ends the bench with a message that says what is wrong and what to do."""


@dataclass(frozen=True)
class Spec:
    """A server that can be measured."""

    name: str
    command: tuple
    # How the load's ends reach the server: see --transport in `load relay --help`.
    transport: str
    # The file of its log; without one the log goes to the bench's own standard error.
    log: Path | None = None
    # What the line that it prints once it is ready contains; its first group is the address. Nothing is waited for
    # without one, and what the program prints goes to its log.
    ready: str | None = r"(127\.0\.0\.1:\d+)"


@dataclass(frozen=True)
class Cores:
    """The cores that the server and the load run on, and the server's worker threads."""

    server: frozenset
    load: frozenset
    workers: int

    @classmethod
    def choose(cls, workers):
        """Gives the server the first `workers` cores and the load the last one, which they may share."""
        every = sorted(os.sched_getaffinity(0))
        return cls(frozenset(every[:workers]), frozenset(every[-1:]), workers)

    def __str__(self):
        names = [", ".join(map(str, sorted(cores))) for cores in (self.server, self.load)]
        shared = ", WHICH THEY SHARE" if self.server & self.load else ""
        threads = "1 worker thread" if self.workers == 1 else f"{self.workers} worker threads"
        return f"server with {threads} on core {names[0]}, load on core {names[1]}{shared}"


def target(workspace):
    """Returns the folder of the release binaries of a workspace."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or workspace / "target").resolve() / "release"


def need(program, advice):
    """Fails with the advice if a program is not installed."""
    if not shutil.which(program):
        raise Failure(f"{program} is missing: {advice}")


def run(command, folder):
    """Runs a command in a folder, with its output on standard error; fails if the command does."""
    if subprocess.run(command, cwd=folder, stdout=sys.stderr).returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed in {folder.relative_to(ROOT.parent)}")


def build_ours():
    """Returns the spec of our server, built in release mode, or of the binary that SOCKET2ME_BIN names."""
    binary = os.environ.get("SOCKET2ME_BIN")
    if not binary:
        need("cargo", "install Rust from https://rustup.rs")
        run(["cargo", "build", "--locked", "--release", "--bin", OURS], ROOT)
        binary = target(ROOT) / OURS
    return our_spec(OURS, binary)


def our_spec(name, binary):
    """Returns the spec of a binary of our server."""
    if not os.access(binary, os.X_OK):
        raise Failure(f"{binary} is not an executable file: name a server's binary, for example target/release/{OURS}")
    # Not a flag: a binary of an older version does not have it.
    os.environ["SOCKET2ME_STORE"] = "memory"
    command = (str(Path(binary).resolve()), "--log", "error", "serve", "--listen", "127.0.0.1:0")
    return Spec(name, command, "ws")


def build_load(*packages):
    """Builds the load and the peers, or only these packages of the workspace."""
    need("cargo", "install Rust from https://rustup.rs")
    flags = [flag for package in packages for flag in ("--package", package)]
    run(["cargo", "build", "--locked", "--release", *flags], BENCHES)


def peers():
    """Returns the specs of the peers by name, in the order of the tables."""
    node = shutil.which("node") or "node"
    specs = [
        Spec("socketioxide", (str(target(BENCHES) / "peer-socketioxide"),), "ws"),
        Spec("socketioxide-system", (str(target(BENCHES) / "peer-socketioxide-system"),), "ws"),
        Spec("node-express", (node, str(NODE_PEER / "server.js"), "express"), "ws"),
        Spec("node-plain", (node, str(NODE_PEER / "server.js"), "plain"), "ws"),
        Spec("limit-relay", (str(target(BENCHES) / "limit-relay"),), "raw"),
        Spec("limit-hello", (str(target(BENCHES) / "limit-hello"),), "none"),
    ]
    return {spec.name: spec for spec in specs}


def install_node_peer(folder=NODE_PEER):
    """Installs the packages of a Node peer. Returns why it cannot be measured, or None if it can."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node or npm is missing"
    lock, installed = folder / "package-lock.json", folder / "node_modules" / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=folder, stdout=sys.stderr).returncode != 0:
            return "npm ci failed"
        # The copy of the lock file comes last, so that an installation that failed is repeated.
        shutil.copy(lock, installed)
    return None


def child_setup(cores):
    """Returns what a child does before it runs its program: it moves to its cores, and asks to be killed when the bench
    ends."""
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1

    def setup():
        os.sched_setaffinity(0, cores)
        prctl(set_parent_death_signal, signal.SIGKILL)

    return setup


def raise_open_files():
    """Raises the limit of open files, which connections are, to the hard limit, and returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server:
    """A server process, which runs inside a `with` block."""

    def __init__(self, spec, cores, extra_env=None):
        self.spec, self.cores, self.extra_env = spec, cores, extra_env or {}

    def __enter__(self):
        env = dict(os.environ, NODE_ENV="production", TOKIO_WORKER_THREADS=str(self.cores.workers), **self.extra_env)
        # The server has a session of its own, so that Ctrl-C in the terminal reaches only the bench, which stops the
        # server.
        log = open(self.spec.log, "wb") if self.spec.log else None
        self.process = subprocess.Popen(
            self.spec.command, env=env, stdin=subprocess.DEVNULL, stderr=log,
            stdout=subprocess.PIPE if self.spec.ready else log,
            start_new_session=True, preexec_fn=child_setup(self.cores.server),
        )
        if log:
            log.close()
        try:
            self.address = self._address() if self.spec.ready else None
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _address(self):
        """Returns the address from the line that the server prints once it listens."""
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECS)
        line = self.process.stdout.readline().decode() if ready else ""
        found = re.search(self.spec.ready, line)
        if not found:
            raise Failure(f"{self.spec.name} printed no address within {START_SECS} s, only {line!r}")
        return found[1]

    def stop(self):
        try:
            self.process.terminate()
            self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()

    def load(self, arguments, secs):
        """Runs the load against the server, and returns the load's report. If there were errors, its `failed` names
        them."""
        return run_load([*arguments, "--to", self.address, "--pid", str(self.process.pid)], self.cores.load, secs)


def run_load(arguments, cores, secs):
    """Runs the load on its cores, and returns its report. If there were errors, its `failed` names them."""
    command = [str(target(BENCHES) / "load"), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=secs + 120,
                              preexec_fn=child_setup(cores))
    except subprocess.TimeoutExpired:
        return {"failed": f"the load did not end within {secs + 120:g} s"}
    if done.returncode == 2:
        raise Failure(done.stderr.strip())
    if done.returncode != 0:
        return {"failed": done.stderr.strip()}
    report = json.loads(done.stdout)
    if report["errors"]:
        report["failed"] = ", ".join(f"{what} ({count} times)" for what, count in report["errors"].items())
    elif report.get("count") == 0:
        report["failed"] = "nothing was answered"
    return report


def measure(spec, cores, arguments, secs, extra_env=None):
    """Measures with a fresh server; see `quietest`."""
    def once():
        with Server(spec, cores, extra_env) as server:
            return server.load(arguments, secs)

    return quietest(once)


def quietest(once):
    """Measures once. If other programs were busy, measures again and returns the quietest report. Returns a report with
    errors at once."""
    best = None
    for attempt in range(ATTEMPTS):
        report = once()
        if "failed" in report:
            return report
        if best is None or report["other_cores"] < best["other_cores"]:
            best = report
        best["attempts"] = attempt + 1
        if best["other_cores"] < NOISE_CORES:
            break
    return best


def progress(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def describe(report):
    if "failed" in report:
        return f"FAILED: {report['failed']}"
    keys = ("cpu_us", "kb_each", "load_cores", "other_cores")
    return ", ".join(f"{key} {report[key]:.2f}" for key in keys if key in report)


def verdict(rounds):
    """Prints what was wrong with the reports. `rounds` has a list of reports by label. Returns whether none had errors."""
    every = [(label, index, report) for label, reports in rounds.items() for index, report in enumerate(reports, 1)]
    failures = [f"- {label}, round {index}: {report['failed']}" for label, index, report in every if "failed" in report]
    if failures:
        print("Excluded from the figures because of errors:\n\n" + "\n".join(failures) + "\n")
    repeated = sum(report.get("attempts", 1) > 1 for *_, report in every)
    noisy = sum(report.get("other_cores", 0) > NOISE_CORES for *_, report in every)
    print(f"Of {len(every)} measurements, {repeated} were repeated because other programs were busy, "
          f"and {noisy} are still noisy.")
    return not failures
