"""Attacks by visitors and ends on streaming (PROTOCOL.md, section 11), beside a tunnel that must not notice. Each returns the
number of its connections."""

import asyncio
import json

from server import Witness, frame, read_frame, text_frame

KIB, MIB = 1 << 10, 1 << 20
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class StreamEnd:
    """An end that streams. `begin` is called with each request, and `acked` with an exchange's id when its data are acknowledged."""

    def __init__(self, server, options=1, begin=None, acked=None, acknowledges=True):
        self.server, self.options, self.acknowledges = server, options, acknowledges
        self.begin, self.acked = begin or (lambda request: None), acked or (lambda id: None)
        self.token = server.token()
        self.number, self.sent, self.positions, self.aborts = 0, {}, {}, []

    async def join(self):
        self.reader, self.writer = await self.server.websocket()
        self.writer.write(text_frame(f'40/{self.token},{json.dumps({"stream": self.options})}'))
        await read_frame(self.reader), await read_frame(self.reader)
        self.ready = json.loads((await read_frame(self.reader)).split(",", 1)[1])[1]
        self.serving = asyncio.create_task(self.serve())
        return self

    async def serve(self):
        while True:
            packet = await read_frame(self.reader)
            if isinstance(packet, bytes):
                # The server has closed the session.
                return
            if packet == "2":
                self.writer.write(text_frame("3"))
            elif packet.startswith("43/"):
                self.acked(self.sent.pop(int(packet.split(",", 1)[1].split("[")[0]), None))
            elif packet.startswith(("42/", "451-/")):
                if packet.startswith("451-"):
                    await read_frame(self.reader)
                ack, event = packet.split(",", 1)[1].split("[", 1)
                name, *arguments = json.loads("[" + event)
                if name == "request":
                    self.begin(arguments[0])
                elif name == "abort":
                    self.aborts.append(arguments[1])
                elif ack and self.acknowledges:
                    self.writer.write(text_frame(f"43/{self.token},{ack}[]"))
            await self.writer.drain()

    def say(self, *event):
        self.writer.write(text_frame(f"42/{self.token},{json.dumps(event)}"))

    def send(self, id, data):
        """Sends data behind those that were sent before of the exchange."""
        offset = self.positions.get(id, 0)
        self.positions[id] = offset + len(data)
        self.number += 1
        self.sent[self.number] = id
        event = f'451-/{self.token},{self.number}["data","{id}",{{"_placeholder":true,"num":0}},{offset}]'
        self.writer.write(text_frame(event) + frame(2, data))


async def visitors(server, ends, count, head, then=None):
    """Connects so many visitors, in turn of each end. `head` is what they send, with TOKEN and without its last line."""
    held = []
    for number in range(count):
        token = ends[number % len(ends)].token
        reader, writer = await server.connect((head.replace("TOKEN", token) + "\r\n").encode())
        held.append((reader, writer))
        if then:
            then(writer)
        # Connections are accepted as they come.
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    return held


def close(ends, held):
    for end in ends:
        end.serving.cancel()
        end.writer.close()
    for _, writer in held:
        writer.close()
    return len(ends) + len(held) + 2


async def unread_streams(server):
    """300 visitors of four ends read nothing of a stream, of which each end sends as much as it may."""
    def begin(end):
        def respond(request):
            end.say("response", request["id"], 200, {})
            for _ in range(max(1, request["window"] // 64_256)):
                end.send(request["id"], bytes(64_000))
        return respond

    ends = [StreamEnd(server) for _ in range(4)]
    for end in ends:
        end.begin, end.acked = begin(end), lambda id, end=end: end.send(id, bytes(64_000))
        await end.join()
    with Witness(server):
        held = await visitors(server, ends, 300, "GET /go/TOKEN/ HTTP/1.1\r\nHost: x\r\n")
        await asyncio.sleep(10)
    assert sum(sum(end.positions.values()) for end in ends) > 30 * MIB, "little was sent"
    return close(ends, held)


async def untaken_uploads(server):
    """300 visitors send chunks without end to four ends that acknowledge nothing, with the largest window there is."""
    ends = [await StreamEnd(server, {"window": 4 * MIB}, acknowledges=False).join() for _ in range(4)]
    chunk = b"8000\r\n" + bytes(32 * KIB) + b"\r\n"

    async def upload(writer):
        try:
            for _ in range(1000):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass

    with Witness(server):
        head = "POST /go/TOKEN/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        uploads = []
        held = await visitors(
            server, ends, 300, head, lambda writer: uploads.append(asyncio.create_task(upload(writer)))
        )
        await asyncio.sleep(10)
        for task in uploads:
            task.cancel()
    return close(ends, held)


async def tiny_events(server):
    """Ends send data of one byte, of none and of exchanges that there are not, 200,000 of each, and read none of the acks."""
    with Witness(server):
        for id, data in [(None, b"x"), (None, b""), ("0-0", b"x"), ("9" * 1000, b"")]:
            begun = asyncio.Queue()
            end = await StreamEnd(server, begin=begun.put_nowait).join()
            held = await visitors(server, [end], 1, "GET /go/TOKEN/ HTTP/1.1\r\nHost: x\r\n")
            request = await begun.get()
            end.serving.cancel()
            end.say("response", request["id"], 200, {})
            try:
                for number in range(20_000 if id and len(id) > 9 else 200_000):
                    end.send(id or request["id"], data)
                    end.sent.clear()
                    if number % 100 == 0:
                        await asyncio.wait_for(end.writer.drain(), 5)
            except (OSError, asyncio.TimeoutError):
                # The server does not read on from an end that does not read, or has closed its session.
                pass
            close([end], held)
    return 8


async def storms(server):
    """20,000 visitors of two ends begin a request, half of them with a part of its body, and leave at once."""
    silent, answering = StreamEnd(server), StreamEnd(server)
    answering.begin = lambda request: answering.say("response", request["id"], 200, {})
    ends = [await silent.join(), await answering.join()]
    with Witness(server):
        for number in range(20_000):
            head = f"{'POST' if number % 4 > 1 else 'GET'} /go/{ends[number % 2].token}/ HTTP/1.1\r\nHost: x\r\n"
            body = "Content-Length: 9000000\r\n\r\nx" if number % 4 > 1 else "\r\n"
            _, writer = await server.connect((head + body).encode())
            if number % 3:
                await asyncio.sleep(0)
            writer.close()
            if number % 100 == 0:
                await asyncio.sleep(0.02)
        await asyncio.sleep(2)
    assert all("visitor-gone" in end.aborts for end in ends), "no end has heard of visitors that left"
    return close(ends, [])


async def breaches(server):
    """Ends send 2 MiB beyond the window of each of 400 exchanges, or in one event, or with gaps."""
    def begin(end, kind):
        def breach(request):
            id = request["id"]
            end.say("response", id, 200, {})
            if kind == "window":
                for _ in range((request["window"] + 2 * MIB) // 64_000):
                    end.send(id, bytes(64_000))
            elif kind == "chunk":
                end.send(id, bytes(2 * MIB))
            else:
                end.positions[id] = 1 << 60
                end.send(id, bytes(64_000))
            # It takes memory here, too.
            end.sent.clear()
        return breach

    ends = [StreamEnd(server) for _ in range(4)]
    for end, kind in zip(ends, ["window", "chunk", "order", "window"]):
        end.begin = begin(end, kind)
        await end.join()
    with Witness(server, 2.0):
        held = []
        for _ in range(10):
            held += await visitors(server, ends, 40, "GET /go/TOKEN/ HTTP/1.1\r\nHost: x\r\n")
            await asyncio.sleep(1)
    codes = {code for end in ends for code in end.aborts}
    assert {"window-exceeded", "chunk-too-large", "out-of-order"} <= codes, codes
    return close(ends, held)


async def large_options(server):
    """2,000 namespaces of 40 sessions ask for the largest windows, or for more than there is, with 60 kB of unknown options."""
    options = {"window": 1e300, "chunk": 1 << 62, "version": 1 << 50, "x" * 60_000: 1}
    held = []
    with Witness(server):
        for number in range(40):
            reader, writer = await server.websocket()
            for _ in range(50):
                asked = options if number % 2 else {"window": 4 * MIB, "chunk": 65_536}
                writer.write(text_frame(f'40/{server.token()},{json.dumps({"stream": asked})}'))
                await writer.drain()
            held.append((reader, writer))
        await asyncio.sleep(2)
    return close([], held)


async def begun_websockets(server):
    """1,200 WebSockets to four ends: a third is not answered, a third says nothing, and a third sends half a message of 10 MiB."""
    def begin(end):
        def accept(request):
            if "silent" not in request["url"]:
                end.say("response", request["id"], 101, {})
        return accept

    ends = [StreamEnd(server, {"ws": "raw" if number == 3 else "messages"}) for number in range(4)]
    for end in ends:
        end.begin = begin(end)
        await end.join()

    async def speak(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"\x01\xff" + (10 * MIB).to_bytes(8, "big") + bytes(4))
            for _ in range(80):
                writer.write(b"x" * (64 * KIB))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    with Witness(server, 2.0):
        held = []
        for path in ["silent", "quiet", "half"]:
            head = f"GET /go/TOKEN/{path} HTTP/1.1\r\nHost: x\r\n{UPGRADE}"
            held += await visitors(server, ends, 400, head)
        speaking = [asyncio.create_task(speak(*peer)) for peer in held[-400:]]
        await asyncio.wait(speaking, timeout=15)
        for task in speaking:
            task.cancel()
    return close(ends, held)
