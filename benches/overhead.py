"""Measures what TLS, HTTP/2 and the rules of a tunnel cost the server, beside nginx with the same ciphers, and prints two tables."""

import base64
import hashlib
import hmac
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from servers import Failure, Server, Spec, build_ours, child_setup, need, progress
from tables import table

CIPHER = "TLS_AES_128_GCM_SHA256"
VISITORS = 16
SECRET = "a secret of the sender"
BODY = b"x" * 1024
SIGNATURE = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
BASIC = base64.b64encode(b"alice:open sesame").decode()

# Name: (over TLS, flags of h2load, flags of the end, headers, whether it is a POST of 1 KiB).
CASES = {
    "GET": (False, ["--h1"], [], [], False),
    "GET over TLS, HTTP/1.1": (True, ["--h1"], [], [], False),
    "GET over TLS, HTTP/2": (True, [], [], [], False),
    "GET, `allow`, `deny` and `methods`": (
        False, ["--h1"], ["--allow=127.0.0.0/8,::1", "--deny=192.0.2.0/24", "--methods=GET,POST"], [], False),
    "GET, `rate`": (False, ["--h1"], ["--rate=1000000/24h"], [], False),
    "GET, `basic`": (False, ["--h1"], ["--basic-file=users"], [f"authorization: Basic {BASIC}"], False),
    "POST of 1 KiB": (False, ["--h1"], [], [], True),
    "POST of 1 KiB, `verify`": (
        False, ["--h1"], ["--verify=github", "--verify-secret-file=secret"], [f"x-hub-signature-256: sha256={SIGNATURE}"], True),
}


def overhead(options, cores):
    """Measures and prints; returns whether all was answered."""
    for program, package in [("h2load", "nghttp2-client"), ("openssl", "openssl"), ("nginx", "nginx")]:
        need(program, f"install the package {package}")
    ours = build_ours()
    with tempfile.TemporaryDirectory(prefix="socket2me-bench-") as name:
        folder = Path(name)
        prepare(folder)
        exchanges, handshakes = {}, {}
        for round_number in range(1, options.rounds + 1):
            for case in CASES:
                exchanges.setdefault(case, []).append(exchange(ours, cores, folder, case, options.requests))
                progress(f"round {round_number}, {case}: {exchanges[case][-1]:.1f} µs")
            for kind, start in [("socket2me", lambda tls: our_server(ours, cores, folder, tls)),
                                ("nginx", lambda tls: nginx(cores, folder, tls))]:
                for tls in (False, True):
                    with start(tls) as (pids, port):
                        cost = connections(pids, port, tls, options.requests // 20)
                        handshakes.setdefault((kind, tls), []).append(cost)
                        progress(f"round {round_number}, connection of {kind}, {'TLS' if tls else 'plain'}: {cost:.1f} µs")
            for label, tls, flags in [("plain", False, ["--h1"]), ("TLS, HTTP/1.1", True, ["--h1"]), ("TLS, HTTP/2", True, [])]:
                with nginx(cores, folder, tls) as (pids, port):
                    cost = requests(pids, cores, f"{'https' if tls else 'http'}://127.0.0.1:{port}/", flags, options.requests)
                    exchanges.setdefault(f"nginx's own answer, {label}", []).append(cost)
                    progress(f"round {round_number}, nginx, {label}: {cost:.1f} µs")
    print(render(exchanges, handshakes))
    return True


def prepare(folder):
    """Makes the certificate and the files of secrets."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=bench root", "-keyout", "root.key", "-out", "root.pem")
    openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "cert.pem")
    (folder / "users").write_text("alice:open sesame\n")
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "body").write_bytes(BODY)


@contextmanager
def our_server(ours, cores, folder, tls):
    """Runs our server, and yields its process in a list, and its port."""
    flags = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")] if tls else []
    spec = Spec(ours.name, (*ours.command, *flags), ours.transport)
    with Server(spec, cores) as server:
        yield [server.process.pid], int(server.address.rsplit(":", 1)[1])


@contextmanager
def nginx(cores, folder, tls):
    """Runs nginx with one worker, which answers by itself, and yields its worker in a list, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secured = ""
    if tls:
        secured = (f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3; "
                   f"ssl_conf_command Ciphersuites {CIPHER};")
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 10000000; server {{ listen 127.0.0.1:{port}{' ssl http2' if tls else ''}; {secured} "
        'location / { default_type text/plain; return 200 "ok"; } } }\n')
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stdin=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, preexec_fn=child_setup(cores.server))
    try:
        reach(port)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield [int(child) for child in children], port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def reach(port):
    """Waits until something listens."""
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    raise Failure("nginx does not listen")


def exchange(ours, cores, folder, case, count):
    """Returns the processor time of our server for each exchange of a case, in µs."""
    tls, flags, rules, headers, posts = CASES[case]
    with ExitStack() as stack:
        pids, port = stack.enter_context(our_server(ours, cores, folder, tls))
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        command = [ours.command[0], "--log", "error", "respond", "--body", "ok", "--ephemeral", "--server", url, "--url-mode", "path", *rules]
        if tls:
            command += ["--ca", "root.pem"]
        end = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, preexec_fn=child_setup(cores.load))
        stack.callback(end.wait)
        stack.callback(end.kill)
        at = end.stdout.readline().strip()
        if not at:
            raise Failure(f"the end of `{case}` did not start")
        sent = [part for header in headers for part in ("-H", header)] + (["-d", str(folder / "body")] if posts else [])
        # Once before: a password is known from then on.
        requests(pids, cores, at + "/", [*flags, *sent], 1_000)
        return requests(pids, cores, at + "/", [*flags, *sent], count)


def requests(pids, cores, url, flags, count):
    """Sends requests, and returns the processor time that the processes took for each, in µs."""
    before = cpu(pids)
    done = subprocess.run(["h2load", "-n", str(count), "-c", str(VISITORS), "-m", "1", f"--tls13-ciphers={CIPHER}", *flags, url],
                          capture_output=True, text=True, preexec_fn=child_setup(cores.load))
    took = cpu(pids) - before
    if f"{count} succeeded" not in done.stdout or f"{count} 2xx" not in done.stdout:
        raise Failure(f"{url} was not always answered: {re.findall(r'(?m)^(?:requests|status).*', done.stdout)} {done.stderr}")
    return took * 1e6 / count


def connections(pids, port, tls, count):
    """Opens connections with a request each, and returns the processor time for each, in µs. No session is resumed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = cpu(pids)
    for _ in range(count):
        if tls:
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise Failure(f"port {port} answers {answer.status}")
        connection.close()
    return (cpu(pids) - before) * 1e6 / count


def cpu(pids):
    """Returns the processor time of processes, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def middle(values):
    return sorted(values)[len(values) // 2]


def render(exchanges, handshakes):
    """Returns the tables as Markdown: medians, and all values of a case in their order."""
    def row(name, values):
        return [name, f"{middle(values):.1f}", ", ".join(f"{value:.1f}" for value in sorted(values))]

    first = table(["exchange", "µs", "all rounds"], [row(name, values) for name, values in exchanges.items()])
    rows = []
    for kind in ("socket2me", "nginx"):
        plain, tls = handshakes[kind, False], handshakes[kind, True]
        rows.append([kind, f"{middle(plain):.0f}", f"{middle(tls):.0f}", f"{middle(tls) - middle(plain):.0f}"])
    second = table(["connection with one request", "plain, µs", "TLS, µs", "handshake, µs"], rows)
    return f"{first}\n\n{second}"
