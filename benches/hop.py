"""Measures what a hop from one node to another costs beside a visit at the node of the end, and which calls Redis gets. Prints two
tables."""

import base64
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

from overhead import BODY, cpu, requests
from seeing import free_port
from servers import ROOT, Failure, Server, build_load, build_ours, child_setup, progress, target
from stores import redis
from tables import number, table

LARGE = BODY * 64
PATH = "/socket.io/?EIO=4&transport="
# Calls of Redis in a second below which ends are taken to have joined.
QUIET = 20
IDLE_SECS = 20

# Name: (the node where the session of the end is, the one where its WebSocket arrives, that where visitors arrive, the body). All
# have the same ends and visitors, so that their differences are those of the nodes.
CASES = {
    "GET at the node of the end": (0, 0, 0, b""),
    "GET at the other node: one hop": (0, 0, 1, b""),
    "POST of 64 KiB at the node of the end": (0, 0, 0, LARGE),
    "POST of 64 KiB at the other node: one hop": (0, 0, 1, LARGE),
    "GET at the node of the session, whose WebSocket is piped through the other": (0, 1, 0, b""),
    "GET at the node that pipes: one hop, and the WebSocket back": (0, 1, 1, b""),
}


def hop(options, cores):
    """Measures and prints; returns whether all was answered."""
    ours = build_ours()
    build_load("load")
    program = subprocess.run([str(ROOT / "scripts/redis")], capture_output=True, text=True, check=True).stdout.strip()
    results = {name: [] for name in CASES}
    counted = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="socket2me-bench-")))
        (folder / "secret").write_text("the secret of a cluster that is measured\n")
        for round_number in range(1, options.rounds + 1):
            for name, places in CASES.items():
                with ExitStack() as inner:
                    nodes, store = cluster(inner, ours, cores, folder, program)
                    results[name].append(exchange(inner, nodes, store, cores, folder, places, options.requests))
                    progress(f"round {round_number}, {name}: {results[name][-1]}")
        nodes, store = cluster(stack, ours, cores, folder, program)
        # The first renewals.
        time.sleep(5)
        at_rest = calls_at_rest(store)
        counted.append((f"two nodes at rest, {IDLE_SECS} s", "", IDLE_SECS, at_rest * IDLE_SECS))
        for name in ("GET at the node of the end", "GET at the other node: one hop"):
            took, calls = results[name][-1]["secs"], results[name][-1]["calls"]
            counted.append((name, results[name][-1]["count"], took, calls))
        counted.append(polls(stack, nodes, store, cores))
        counted.append(idle(stack, nodes, store, cores, options.idle))
    print(render(results, counted, at_rest))
    return True


def cluster(stack, ours, cores, folder, program):
    """Starts Redis and two nodes, and returns the nodes and the port of Redis, once both are ready."""
    url = stack.enter_context(redis(cores, program))
    nodes = []
    for _ in range(2):
        at = f"127.0.0.1:{free_port()}"
        flags = ("--store", url, "--cluster-listen", at, "--advertise", f"http://{at}", "--cluster-secret-file", str(folder / "secret"))
        nodes.append(stack.enter_context(Server(replace(ours, command=(*ours.command, *flags)), cores)))
    for node in nodes:
        wait_for(lambda node=node: ask(node, "GET", "/readyz")[0] == 200)
    return nodes, int(url.rsplit(":", 1)[1])


def wait_for(is_there):
    for _ in range(200):
        if is_there():
            return
        time.sleep(0.05)
    raise Failure("the nodes are not ready within 10 s")


def ask(node, method, path, body=None, headers=None):
    """Sends a request on a connection of its own, and returns status and body."""
    connection = HTTPConnection(node.address, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def exchange(stack, nodes, store, cores, folder, places, count):
    """Returns the latency of exchanges one at a time, what 16 visitors at once cost each node, and the calls of Redis meanwhile."""
    session, upgrade, arrival, body = places
    token = ask(nodes[session], "GET", "/new")[1].decode()
    run_end(stack, cores, serve, nodes[session].address, nodes[upgrade].address, token)
    wait_for(lambda: ask(nodes[arrival], "GET", f"/go/{token}/")[0] == 200)
    count = count if not body else count // 4
    visitor = Visitor(nodes[arrival].address, token, body)
    for _ in range(200):
        visitor.visit()
    pids = [[node.process.pid] for node in nodes]
    calls, begun, before = redis_calls(store), time.monotonic(), [cpu(pid) for pid in pids]
    times = sorted(visitor.visit() for _ in range(count // 8))
    secs, alone = time.monotonic() - begun, [cpu(pid) - used for pid, used in zip(pids, before)]
    calls = redis_calls(store) - calls
    url = f"http://{nodes[arrival].address}/go/{token}/"
    flags = ["--h1"]
    if body:
        (folder / "large").write_bytes(body)
        flags += ["-d", str(folder / "large"), "-H", "content-type: application/octet-stream"]
    requests([], cores, url, flags, 500)
    before = [cpu(pid) for pid in pids]
    requests([], cores, url, flags, count // 2)
    many = [(cpu(pid) - used) * 1e6 / (count // 2) for pid, used in zip(pids, before)]
    return {"p50": statistics.median(times) * 1e6, "p99": times[len(times) * 99 // 100] * 1e6, "count": count // 8, "secs": secs,
            "calls": calls, "alone": [used * 1e6 / (count // 8) for used in alone], "many": many}


class Visitor:
    """A visitor with one connection and one request at a time."""

    def __init__(self, address, token, body):
        self.socket = connect(address)
        head = f"{'POST' if body else 'GET'} /go/{token}/ HTTP/1.1\r\nhost: {address}\r\n"
        if body:
            head += f"content-type: application/octet-stream\r\ncontent-length: {len(body)}\r\n"
        self.request = head.encode() + b"\r\n" + body

    def visit(self):
        """Returns how many seconds the answer took."""
        begun = time.perf_counter()
        self.socket.sendall(self.request)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            got = self.socket.recv(65536)
            if not got or not (answer + got).startswith(b"HTTP/1.1 200"):
                raise Failure(f"a visitor is answered {(answer + got)[:200]}")
            answer += got
        return time.perf_counter() - begun


def connect(address):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def run_end(stack, cores, what, *arguments):
    """Runs an end in a process on the load's cores."""
    def main():
        child_setup(cores.load)()
        what(*arguments)

    end = multiprocessing.get_context("fork").Process(target=main, daemon=True)
    end.start()
    stack.callback(end.join)
    stack.callback(end.kill)


def poll(address, sid, body=None):
    """Polls, or posts packets, at a node."""
    connection = connections.setdefault((address, body is None), HTTPConnection(address, timeout=60))
    path = f"{PATH}polling" + (f"&sid={sid}" if sid else "")
    connection.request("GET" if body is None else "POST", path, body, {"content-type": "text/plain;charset=UTF-8"} if body else {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise Failure(f"a poll is answered {answer.status}: {text}")
    return text


# Connections for polls, and for posts, by node.
connections = {}


def acked(packet, token):
    """Returns the ack of an event, which is `ok`."""
    rest = packet.split(f"/{token},".encode(), 1)[1]
    return f"43/{token},{rest[:rest.index(b'[')].decode()}[200,\"ok\",{{}}]".encode()


def serve(session, upgrade, token):
    """Is an end, whose session is at one node, and whose WebSocket arrives at another, or at the same."""
    sid = json.loads(poll(session, None)[1:])["sid"]
    link = connect(upgrade)
    key = base64.b64encode(os.urandom(16)).decode()
    link.sendall(f"GET {PATH}websocket&sid={sid} HTTP/1.1\r\nhost: {upgrade}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                 f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode())
    reader = link.makefile("rb")
    while reader.readline() != b"\r\n":
        pass
    send(link, b"2probe")
    while (received := receive(reader)) is not None:
        opcode, data = received
        if data == b"3probe":
            send(link, b"5")
            send(link, f"40/{token},".encode())
        elif data == b"2":
            send(link, b"3")
        elif opcode == 2:
            send(link, ack)
        elif data.startswith(b"42"):
            send(link, acked(data, token))
        elif data.startswith(b"45"):
            # The body follows.
            ack = acked(data, token)


def send(link, text):
    """Sends a message, masked with zeros."""
    link.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)


def receive(reader):
    head = reader.read(2)
    if len(head) < 2:
        return None
    length = head[1]
    if length > 125:
        length = int.from_bytes(reader.read(2 if length == 126 else 8), "big")
    return head[0] & 15, reader.read(length)


def serve_by_polls(session, other, token):
    """Is an end whose session is at one node, and all whose requests after the first arrive at another."""
    sid = json.loads(poll(session, None)[1:])["sid"]
    poll(other, sid, f"40/{token},".encode())
    while True:
        packets = poll(other, sid).split(b"\x1e")
        answers = [b"3" if packet == b"2" else acked(packet, token) for packet in packets if packet[:2] in (b"2", b"42")]
        if answers:
            poll(other, sid, b"\x1e".join(answers))


def polls(stack, nodes, store, cores):
    """Counts the calls of Redis while an end polls at a node that is not its session's."""
    token = ask(nodes[0], "GET", "/new")[1].decode()
    run_end(stack, cores, serve_by_polls, nodes[0].address, nodes[1].address, token)
    wait_for(lambda: ask(nodes[0], "GET", f"/go/{token}/")[0] == 200)
    visitor = Visitor(nodes[0].address, token, b"")
    calls, begun, count = redis_calls(store), time.monotonic(), 5_000
    for _ in range(count):
        visitor.visit()
    name = "GET, whose end polls at the other node: a poll and a POST each"
    return name, count, time.monotonic() - begun, redis_calls(store) - calls


def idle(stack, nodes, store, cores, count):
    """Counts the calls of Redis while keyed tunnels do nothing, half of them at each node."""
    for node in nodes:
        command = [str(target(ROOT / "benches") / "load"), "idle", "--keys", "--tunnels", str(count // 2), "--secs", "600",
                   "--to", node.address, "--pid", str(node.process.pid)]
        load = subprocess.Popen(command, preexec_fn=child_setup(cores.load), stdout=subprocess.DEVNULL)
        stack.callback(load.wait)
        stack.callback(load.kill)
    begun, before = redis_calls(store), 0
    while True:
        time.sleep(1)
        now = redis_calls(store)
        # Each is made, claimed and renewed.
        if now - before < QUIET and now - begun > 3 * count:
            break
        before = now
    calls = redis_calls(store)
    time.sleep(IDLE_SECS)
    return f"{count:,} idle keyed tunnels, {IDLE_SECS} s", "", IDLE_SECS, redis_calls(store) - calls


def redis_calls(port):
    """Returns how many scripts Redis has run: it gets no other calls once the nodes are connected."""
    with socket.create_connection(("127.0.0.1", port)) as asked:
        asked.sendall(b"INFO commandstats\r\n")
        reader = asked.makefile("rb")
        text = reader.read(int(reader.readline()[1:])).decode()
    stats = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
    counts = [stats[name].split(",")[0].split("=")[1] for name in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_ping") if name in stats]
    return sum(map(int, counts))


def calls_at_rest(store):
    """Returns how many calls Redis gets in a second."""
    calls = redis_calls(store)
    time.sleep(IDLE_SECS)
    return (redis_calls(store) - calls) / IDLE_SECS


def render(results, counted, at_rest):
    """Returns the tables as Markdown: medians, and of the latency the smallest and the largest of the rounds."""
    rows = []
    for name, rounds in results.items():
        p50s, p99s = ([report[key] for report in rounds] for key in ("p50", "p99"))
        row = [name, f"{number(statistics.median(p50s))} ({number(min(p50s))}–{number(max(p50s))})", number(statistics.median(p99s))]
        for key in ("alone", "many"):
            used = [statistics.median(report[key][node] for report in rounds) for node in (0, 1)]
            row.append(" + ".join(number(value) for value in used))
        rows.append(row)
    first = table(["exchange", "p50, µs", "p99, µs", "CPU, one at a time, µs", "CPU, 16 visitors, µs"], rows)
    rows = [[name, f"{count:,}" if count else "", f"{secs:.1f}", number(calls), number(calls - at_rest * secs)]
            for name, count, secs, calls in counted]
    second = table(["work", "exchanges", "s", "calls of Redis", "beyond those at rest"], rows)
    return f"{first}\nCPU time of an exchange at the node of the session + at the other.\n\n{second}"
