"""The server under attack, and the part of HTTP, WebSocket and Engine.IO that an attack needs."""

import asyncio
import json
import subprocess
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor


class Server:
    def __init__(self, binary):
        self.binary = binary

    def __enter__(self):
        command = [self.binary, "--log", "error", "serve", "--listen", "127.0.0.1:0", "--store", "memory",
                   "--response-timeout", "60s"]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.process.stdout.readline().split(" is ready at ")[1].split()[0]
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def peak(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    def has_panicked(self):
        self.log.seek(0)
        return b"panicked" in self.log.read()

    def token(self):
        return urllib.request.urlopen(f"{self.url}/new").read().decode()

    def make(self, fields):
        """Makes a keyed tunnel, and returns its token and key."""
        headers = {"Content-Type": "application/json"}
        made = json.load(urllib.request.urlopen(urllib.request.Request(f"{self.url}/new", fields.encode(), headers)))
        return made["token"], made["key"]

    async def connect(self, data):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 12)
        writer.write(data)
        return reader, writer

    async def websocket(self):
        head = (
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        reader, writer = await self.connect(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def session(self):
        """Opens a session of long-polling, and returns how to send a request to it: its body, or nothing for a poll."""
        reader, writer = await self.connect(b"")
        path = "/socket.io/?EIO=4&transport=polling"

        async def ask(body=None):
            return (await request(reader, writer, path, body))[1].decode()

        path += f"&sid={json.loads((await ask())[1:])['sid']}"
        return ask

    async def end(self, answer):
        """Connects an end that answers each request with `answer`, the arguments of an ack; without one it never answers."""
        token = self.token()
        reader, writer = await self.websocket()
        writer.write(text_frame(f"40/{token},"))
        joined = asyncio.Event()
        self.serving = asyncio.create_task(serve(reader, writer, token, answer, joined))
        await joined.wait()
        return token


def text_frame(text):
    return frame(1, text.encode())


def frame(opcode, data):
    """Writes a message of a client, text (1) or bytes (2), masked with zeros."""
    if len(data) < 126:
        size = bytes([0x80 | len(data)])
    elif len(data) < 1 << 16:
        size = b"\xfe" + len(data).to_bytes(2, "big")
    else:
        size = b"\xff" + len(data).to_bytes(8, "big")
    return bytes([0x80 | opcode]) + size + bytes(4) + data


async def read_frame(reader):
    """Reads a WebSocket message of the server: text, or bytes."""
    opcode, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8), "big")
    message = await reader.readexactly(size)
    return message.decode() if opcode == 0x81 else message


async def serve(reader, writer, token, answer, joined):
    while True:
        packet = await read_frame(reader)
        if packet == "2":
            writer.write(text_frame("3"))
        elif packet[:3] == "40/":
            joined.set()
        elif packet[:3] == "42/" and answer:
            ack = packet.split(",", 1)[1].split("[", 1)[0]
            writer.write(text_frame(f"43/{token},{ack}{answer}"))
            await writer.drain()


async def request(reader, writer, path, body=None, headers=""):
    """Sends a request on a connection that stays open, and returns the status and the body of the response."""
    if body is not None:
        headers += f"Content-Length: {len(body)}\r\n"
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
    writer.write(head.encode() + (body or b""))
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    return int(lines[0].split()[1]), await reader.readexactly(length)


class Witness:
    """Visits a tunnel of its own while an attack goes on, in a thread of its own, and fails unless each visit is answered at once."""

    def __init__(self, server, patience=1.0):
        self.server, self.patience = server, patience

    def __enter__(self):
        self.slowest, self.visits, self.is_over = 0, 0, threading.Event()
        self.pool = ThreadPoolExecutor(1)
        self.result = self.pool.submit(lambda: asyncio.run(self.visit()))
        return self

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.pool.shutdown()
        if kind is None:
            self.result.result()
            assert self.visits > 10 and self.slowest < self.patience, f"{self.visits} visits, {self.slowest:.2f} s"

    async def visit(self):
        token = await self.server.end('[200,"here"]')
        reader, writer = await self.server.connect(b"")
        while not self.is_over.is_set():
            started = time.monotonic()
            answer = await asyncio.wait_for(request(reader, writer, f"/go/{token}"), 30)
            assert answer == (200, b"here"), answer
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.visits += 1
            await asyncio.sleep(0.05)
