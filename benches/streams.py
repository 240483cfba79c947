"""Measures streams beside acks and an event stream beside a direct one, with the official client as the end."""

import shutil
import subprocess

from servers import BENCHES, ROOT, Failure, build_ours, need, run

CLIENT = ROOT / "protocol-tests" / "node"


def streams(options, cores):
    """Measures and prints; returns whether no run had errors."""
    need("node", "install Node.js 20 or newer from https://nodejs.org")
    need("npm", "it comes with Node.js")
    if not (CLIENT / "node_modules").is_dir():
        run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], CLIENT)
    binary, *_ = build_ours().command
    server, load = (",".join(map(str, sorted(where))) for where in (cores.server, cores.load))
    command = ["taskset", "-c", load, shutil.which("node"), str(BENCHES / "streams.mjs"), binary, server,
               str(options.rounds), str(options.secs)]
    if subprocess.run(command).returncode != 0:
        raise Failure("benches/streams.mjs failed")
    return True
