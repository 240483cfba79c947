"""Measures our server beside its peers, round by round, and prints the tables of CPU time, memory and latency."""

from dataclasses import replace

from servers import BEFORE, OURS, describe, measure, progress, verdict
from tables import median, number, paired_ratio, paired_ratios, spread, table

BASE = "socketioxide"
# The base with the system's allocator. Only idle tunnels are measured, where allocators differ most.
LESS_MEMORY = "socketioxide-system"
IDLE = "idle"
OPEN_LOOP = "open-2k"

# Name: (the work as the tables describe it, the load's arguments).
SCENARIOS = {
    "get-1x64": ("small GET, 1 tunnel, 64 visitors", "relay --tunnels 1 --visitors 64"),
    "get-100x64": ("small GET, 100 tunnels, 64 visitors", "relay --tunnels 100 --visitors 64"),
    "get-1x1": ("small GET, 1 tunnel, 1 visitor, server and load on one core", "relay --tunnels 1 --visitors 1"),
    "post-10k": ("POST 10 KiB JSON, echoed as text",
                 "relay --tunnels 10 --visitors 32 --request 10240 --request-kind json --echo"),
    "response-1m": ("response of 1 MiB of text", "relay --tunnels 4 --visitors 8 --response 1048576"),
    "binary-64k": ("binary answer of 64 KiB",
                   "relay --tunnels 10 --visitors 16 --response 65536 --response-kind binary"),
    "polling": ("long-polling end, small GET", "relay --tunnels 10 --visitors 16 --transport polling"),
    "churn": ("connect + leave", "churn --ends 16"),
    OPEN_LOOP: ("small GET at 2,000 a second, open loop", "relay --tunnels 10 --visitors 64 --rate 2000"),
    IDLE: ("idle tunnel", "idle"),
}
# Scenarios whose server and load share one core.
ONE_CORE = {"get-1x1"}
# Scenarios for servers that speak Socket.IO.
SOCKET_IO_ONLY = {"polling", "churn"}


def covers(spec, scenario):
    """Returns whether a server takes part in a scenario."""
    if spec.name == LESS_MEMORY:
        return scenario == IDLE
    if spec.transport == "none":
        return scenario not in SOCKET_IO_ONLY | {"binary-64k", IDLE}
    return spec.transport == "ws" or scenario not in SOCKET_IO_ONLY


def arguments(spec, scenario, options):
    """Returns the load's arguments, and the seconds that the load takes with them."""
    words = SCENARIOS[scenario][1].split()
    if scenario not in SOCKET_IO_ONLY:
        words += ["--transport", spec.transport]
    if scenario == IDLE:
        return words + ["--tunnels", str(options.idle), "--secs", str(options.idle_secs)], options.idle_secs
    return words + ["--secs", str(options.secs), "--warm", str(options.warm)], options.secs + options.warm


def compare(specs, scenarios, cores, options):
    """Measures and prints; returns whether no run had errors."""
    reports = {(scenario, spec.name): [] for scenario in scenarios for spec in specs if covers(spec, scenario)}
    for round_number in range(1, options.rounds + 1):
        for scenario in scenarios:
            # The order alternates, so that what one server leaves behind, such as heat, does not always affect the
            # same server.
            for spec in specs if round_number % 2 else reversed(specs):
                if not covers(spec, scenario):
                    continue
                words, secs = arguments(spec, scenario, options)
                where = replace(cores, load=cores.server) if scenario in ONE_CORE else cores
                size = words[words.index("--response") + 1] if "--response" in words else "13"
                report = measure(spec, where, words, secs, {"ANSWER_BYTES": size})
                reports[scenario, spec.name].append(report)
                progress(f"round {round_number}, {scenario}, {spec.name}: {describe(report)}")
    print(render(specs, scenarios, reports))
    return verdict({f"{scenario} of {name}": rounds for (scenario, name), rounds in reports.items()})


def render(specs, scenarios, reports):
    """Returns the tables as Markdown."""
    def cell(scenario, name):
        return reports.get((scenario, name), [])

    names = [spec.name for spec in specs]
    parts = []
    timed = [scenario for scenario in scenarios if scenario != IDLE]
    columns = [name for name in names if name != LESS_MEMORY]
    head, ratio_columns = ["work"] + columns, OURS in names and BASE in names
    before = OURS in names and BEFORE in names
    if timed:
        rows = []
        for scenario in timed:
            row = [SCENARIOS[scenario][0]]
            row += [number(median(cell(scenario, name), "cpu_us")) for name in columns]
            if ratio_columns:
                row.append(number(paired_ratio(cell(scenario, OURS), cell(scenario, BASE), "cpu_us")))
            if before:
                row.append(spread(paired_ratios(cell(scenario, OURS), cell(scenario, BEFORE), "cpu_us")))
            rows.append(row)
        ratio_head = [f"{OURS} ÷ {BASE}"] if ratio_columns else []
        ratio_head += [f"{OURS} ÷ {BEFORE}"] if before else []
        parts.append("Server CPU time of one exchange, µs:\n\n" + table(head + ratio_head, rows))
        rows = [[SCENARIOS[scenario][0]] + [number(median(cell(scenario, name), "per_second")) for name in columns]
                for scenario in timed]
        parts.append("Exchanges a second:\n\n" + table(head, rows))
    if OPEN_LOOP in scenarios:
        keys = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}
        rows = [[name] + [number(median(cell(OPEN_LOOP, name), key)) for key in keys.values()] for name in columns]
        if ratio_columns:
            ours, base = cell(OPEN_LOOP, OURS), cell(OPEN_LOOP, BASE)
            rows.append([f"{OURS} ÷ {BASE}"] + [number(paired_ratio(ours, base, key)) for key in keys.values()])
        parts.append("Latency at 2,000 a second, µs:\n\n" + table(["server", *keys], rows))
    if IDLE in scenarios:
        rows = []
        for name in names:
            kilobytes, cores = (median(cell(IDLE, name), key) for key in ("kb_each", "server_cores"))
            if kilobytes is not None:
                rows.append([name, number(kilobytes), number(cores * 100)])
        if before:
            ratios = paired_ratios(cell(IDLE, OURS), cell(IDLE, BEFORE), "kb_each")
            rows.append([f"{OURS} ÷ {BEFORE}", spread(ratios), "–"])
        parts.append("Idle tunnels:\n\n" + table(["server", "kB of RSS each", "% of a core"], rows))
    busy = [f"{scenario} of {name}" for (scenario, name), rounds in reports.items()
            if (median(rounds, "load_cores") or 0) > 0.95]
    if busy:
        parts.append("The load's core was full, so these rates are lower bounds; the CPU times are right: "
                     + ", ".join(busy) + ".\n")
    return "\n".join(parts)
