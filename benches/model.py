"""Measures what each script costs a real Redis, and runs `benches/model` with these costs: a large cluster in simulated time."""

import socket
import subprocess

from overhead import cpu
from servers import BENCHES, ROOT, build_load, child_setup, progress, target
from stores import redis

SCRIPTS = ROOT / "src" / "store" / "redis"
NODES = 1_000
CALLS = 10_000
KEY_HASH = "07" * 32


class Client:
    """A connection to Redis, with one call at a time, as those of a thousand nodes come."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.reader = self.socket.makefile("rb")

    def call(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.answer()

    def answer(self):
        line = self.reader.readline()
        if line[:1] == b"*":
            return [self.answer() for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return self.reader.read(int(line[1:]) + 2)[:-2].decode() if int(line[1:]) >= 0 else None
        assert line[:1] in b"+:", line
        return line[1:-2].decode()

    def script(self, *names):
        """Returns a function that runs a script of these files, with a list of keys."""
        sha = self.call("SCRIPT", "LOAD", "\n".join((SCRIPTS / f"{name}.lua").read_text() for name in names))
        return lambda keys, *arguments: self.call("EVALSHA", sha, len(keys), *keys, *arguments)


def costs(cores):
    """Returns the processor time of Redis for each kind of call, in µs."""
    program = subprocess.run([str(ROOT / "scripts/redis")], capture_output=True, text=True, check=True).stdout.strip()
    with redis(cores, program) as url:
        client = Client(int(url.rsplit(":", 1)[1]))
        pids = [int(client.call("INFO", "server").split("process_id:")[1].split()[0])]

        def each(count, call):
            before = cpu(pids)
            for number in range(count):
                call(number)
            return (cpu(pids) - before) * 1e6 / count

        renew, claim = client.script("shared", "nodes", "renew"), client.script("shared", "nodes", "claim")
        create, locate = client.script("shared", "create"), client.script("shared", "nodes", "locate")

        def renewal(number, table):
            said = ("http://10.123.123.123:7000", "node-1234", "0.1.0", 0)
            return renew([], 0, 0, f"node{number % NODES:04}", 0, 600_000, table, 0, "", "", *said)

        def keys(number):
            return [f"s2m:t:tunnel-{number}", "s2m:marker"]

        # Once more for each: a version counts only for a node that was told it.
        for number in range(2 * NODES):
            version = renewal(number % NODES, 0)[6]
        found = {"renewal": each(CALLS, lambda number: renewal(number, version))}
        found["row"] = (each(NODES // 5, lambda number: renewal(number, 0)) - found["renewal"]) / NODES
        found["restore"] = each(CALLS, lambda number: create(
            keys(number), 86_400_000, 0, 2_592_000_000, 1_790_000_000, "", KEY_HASH, 2_592_000_000, 30_000, 1, "", 0, "newest", "never", ""))
        found["claim"] = each(CALLS, lambda number: claim(keys(number), 86_400_000, 0, f"node{number % 500:04}", 0, 0, 1, ""))
        moved = each(CALLS, lambda number: claim(keys(number), 86_400_000, 0, f"node{number % 500 + 500:04}", 0, 0, 1, ""))
        found["eviction"] = max(moved - found["claim"], 0)
        found["refused"] = each(CALLS, lambda number: claim(keys(number), 86_400_000, 1, f"node{number % NODES:04}", 0, 0, 1, ""))
        found["other"] = each(CALLS, lambda number: locate(keys(number)[:1], 0))
        client.call("DEL", "s2m:inbox:node0000")
        for number in range(NODES):
            client.call("RPUSH", "s2m:inbox:node0000", f"{1_790_000_000_000_000 + number} evict tunnel-{number} 1790000000000000")
        found["message"] = (each(500, lambda _: renewal(0, version)) - found["renewal"]) / NODES
        later = str(int(version) + 1)
        client.call("DEL", "s2m:nodes:changes")
        for number in range(NODES):
            client.call("ZADD", "s2m:nodes:changes", later, f"gone{number:04}")
        client.call("HSET", "s2m:nodes:state", "version", later)
        found["gone"] = (each(500, lambda number: renewal(1 + number, version)) - found["renewal"]) / NODES
        return found


def model(options, cores):
    """Measures and prints; returns whether the model ran."""
    build_load("model")
    found = costs(cores)
    progress(found)
    print("What calls cost Redis, µs: " + ", ".join(f"{name} {cost:.2f}" for name, cost in found.items()) + "\n", flush=True)
    flags = [f"--{name}={cost:.3f}" for name, cost in found.items()]
    command = [str(target(BENCHES) / "model"), "--nodes", str(options.nodes), "--tunnels", str(options.tunnels), *flags]
    return subprocess.run(command, preexec_fn=child_setup(cores.server | cores.load)).returncode == 0
