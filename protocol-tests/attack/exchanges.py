"""Attacks on connections, sessions and exchanges. Each returns the number of its connections."""

import asyncio
import base64
import json
import os
import time

from server import frame, read_frame, request, text_frame

MIB = 1 << 20


def assemble(event, attachments):
    """Puts attachments into an event as most clients do: any object with the key `_placeholder` is the place of one."""
    def place(members):
        if "_placeholder" not in members:
            return members
        places.append(members["num"])
        return attachments[members["num"]]

    places = []
    whole = json.loads(event, object_hook=place) if attachments else json.loads(event)
    assert places == list(range(len(attachments))), f"{event} has the places {places}"
    return whole


class StrictEnd:
    """An end that takes nothing but an attachment's place for one, as clients do, and answers each visit with its body."""

    def __init__(self, server):
        self.server = server
        self.token = server.token()
        self.joined = asyncio.Event()
        self.event = None
        self.sizes = []

    def receive(self, packet):
        """Takes a packet, text or bytes, and returns the packets that answer it."""
        if isinstance(packet, str) and not packet.startswith("42/"):
            if packet == "2":
                return ["3"]
            assert packet.startswith("451-"), packet
            self.event = packet
            return []
        text, attachments = (self.event, [packet]) if isinstance(packet, bytes) else (packet, [])
        ack, event = text.split(",", 1)[1].split("[", 1)
        name, visit = assemble("[" + event, attachments)
        assert name == "request" and (not attachments or visit["body"] == packet), text
        if attachments:
            return [f'461-/{self.token},{ack}[200,{{"_placeholder":true,"num":0}}]', packet]
        return [f'43/{self.token},{ack}[200,""]']

    async def over_websocket(self):
        reader, writer = await self.server.websocket()
        writer.write(text_frame(f"40/{self.token},"))
        await read_frame(reader), await read_frame(reader)
        self.joined.set()
        while True:
            for answer in self.receive(await read_frame(reader)):
                writer.write(text_frame(answer) if isinstance(answer, str) else frame(2, answer))

    async def over_polling(self, until=None):
        """Polls, and notes how many packets and bytes each answer has. Between the join and the first poll it waits."""
        ask = await self.server.session()
        await ask(f'40/{self.token},{{"body":"raw"}}'.encode())
        await ask()
        self.joined.set()
        if until:
            await until.wait()
        while True:
            payload = await ask()
            packets = payload.split("\x1e")
            self.sizes.append((len(packets), len(payload)))
            read = (base64.b64decode(packet[1:]) if packet[0] == "b" else packet for packet in packets)
            answers = [answer for packet in read for answer in self.receive(packet)]
            written = [answer if isinstance(answer, str) else "b" + base64.b64encode(answer).decode() for answer in answers]
            if written:
                await ask("\x1e".join(written).encode())


async def while_serving(ends, visits):
    """Waits for visits while ends serve them, and fails when an end does."""
    serving, visits = [asyncio.create_task(end) for end in ends], asyncio.gather(*visits)
    await asyncio.wait([*serving, visits], return_when=asyncio.FIRST_COMPLETED)
    failures = [end.exception() for end in serving if end.done()]
    for task in [*serving, visits]:
        task.cancel()
    results = await asyncio.gather(visits, return_exceptions=True)
    for failure in [*failures, *results]:
        if isinstance(failure, BaseException):
            raise failure


async def slow_uploads(server):
    """1,000 visitors upload 10 MiB each: the first half at once, the rest as slowly as the server allows."""
    token = await server.end(None)
    head = f"POST /go/{token} HTTP/1.1\r\nHost: x\r\nContent-Length: {10 * MIB}\r\n\r\n".encode()

    async def upload():
        try:
            _, writer = await server.connect(head)
            for _ in range(80):
                writer.write(bytes(64 * 1024))
                await writer.drain()
            for _ in range(10):
                writer.write(bytes(4096))
                await asyncio.sleep(1)
        except OSError:
            pass

    await asyncio.gather(*(upload() for _ in range(1000)))
    server.serving.cancel()
    return 1001


async def unread_responses(server):
    """1,000 visitors ask for 2 MiB each and read nothing of it."""
    token = await server.end(json.dumps([200, "x" * (2 * MIB)]))
    visit = f"GET /go/{token} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    held = [await server.connect(visit) for _ in range(1000)]
    await asyncio.sleep(20)
    server.serving.cancel()
    return len(held) + 1


async def half_open_sessions(server):
    """10,000 sessions join nothing: half are WebSockets with half a message, half are polling sessions without a poll."""
    held = []
    for number in range(5000):
        _, writer = await server.websocket()
        writer.write(text_frame("4" + "x" * 8000)[:6000])
        held.append(writer)
        reader, writer = await server.connect(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    await asyncio.sleep(2)
    return 10_000


async def half_messages(server):
    """200 WebSockets send 15 MiB of a message each, and never its end."""
    async def send():
        try:
            _, writer = await server.websocket()
            frame = text_frame("4" + "x" * (15 * MIB + 1000))
            writer.write(frame[: 15 * MIB])
            await writer.drain()
            await asyncio.sleep(15)
        except OSError:
            pass

    await asyncio.gather(*(send() for _ in range(200)))
    return 200


async def many_headers(server):
    """200 visitors are answered with 1.6 MB of headers, and 200 with as many as are allowed; their connections stay open."""
    held = []
    lists = [json.dumps([200, "", {"x-a": [0] * count}]) for count in (800_000, 128)]
    for answer in lists:
        token = await server.end(answer)
        visit = f"GET /go/{token} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for _ in range(200):
            reader, writer = await server.connect(visit)
            await reader.readuntil(b"\r\n")
            held.append(writer)
        server.serving.cancel()
    return len(held) + 2


async def named_headers(server):
    """Heads whose Connection names thousands of headers, of visitors and of an end's answers, beside a witness."""
    names = ",".join(f"n{number:x}" for number in range(9_000))
    headers = {f"x-{number}": "1" for number in range(90)} | {"connection": names}
    token = await server.end(json.dumps([200, "", headers]))
    lines = "".join(f"X-{number}: 1\r\n" for number in range(90))
    visit = f"GET /go/{token} HTTP/1.1\r\nHost: x\r\n{lines}Connection: {names}\r\n\r\n".encode()
    started = time.monotonic()
    for _ in range(200):
        reader, writer = await server.connect(visit)
        await reader.readuntil(b"\r\n")
        writer.close()
    each = (time.monotonic() - started) / 200
    assert each < 0.02, f"each exchange took {each * 1000:.1f} ms"
    return 1


async def large_auths(server):
    """50 CONNECTs whose auth has 2.7 million members each."""
    auth = "{" + ",".join(['"":0'] * 2_700_000) + "}"
    for _ in range(50):
        token = server.token()
        reader, writer = await server.websocket()
        writer.write(text_frame(f"40/{token},{auth}"))
        await writer.drain()
        while b"auth is over the limit" not in await reader.read(1 << 12):
            pass
        writer.close()
    return 1


async def bodies_that_grow(server):
    """100 visitors send 10 MiB of a control character, which takes six bytes in JSON, or of a form's shortest fields."""
    token = await server.end(None)

    async def upload(kind, body):
        try:
            head = f"POST /go/{token} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            reader, writer = await server.connect(head.encode() + body)
            await writer.drain()
            await asyncio.wait_for(reader.read(100), 10)
        except (OSError, asyncio.TimeoutError):
            pass

    text, form = b"\1" * 10 * MIB, b"a&" * (5 * MIB)
    for _ in range(5):
        await asyncio.gather(*(upload("text/plain", text) for _ in range(10)))
        await asyncio.gather(*(upload("application/x-www-form-urlencoded", form) for _ in range(10)))
    server.serving.cancel()
    return 101


async def names_of_places(server):
    """3,000 visits to each of two ends, whose headers, queries and bodies look like the places of attachments."""
    octets, mark = "Content-Type: application/octet-stream\r\n", "_placeholder: 1\r\nnum: 0\r\n"
    place = b'{"_placeholder":true,"num":0}'
    attacks = [
        ("", mark + octets, b"x", 400),
        ("?_placeholder=1&num=a", octets, b"x", 200),
        ("?a[b][_placeholder]=true&a[b][num]=0", octets, b"x", 200),
        ("", "Content-Type: application/json\r\n", place, 200),
        ("", "Content-Type: application/x-www-form-urlencoded\r\n", b"_placeholder=1&num=a", 200),
        ("?_placeholder=1&num=a", "", None, 200),
    ]
    websocket, polling = StrictEnd(server), StrictEnd(server)

    async def visit(end):
        await end.joined.wait()
        reader, writer = await server.connect(b"")
        for query, headers, body, expected in 25 * attacks:
            status, _ = await request(reader, writer, f"/go/{end.token}{query}", body, headers)
            assert status == expected, f"{query} {headers} {body} is {status}"
        answer = await request(reader, writer, f"/go/{end.token}", b"honest", octets)
        assert answer == (200, b"honest"), answer
        writer.close()

    joined = [websocket.over_websocket(), polling.over_polling()]
    await while_serving(joined, [visit(end) for end in 20 * [websocket, polling]])
    return 42


async def bursts_at_a_polling_end(server):
    """64 visitors at once of an end that polls, six times: with small bodies, and with 8 MiB of them together."""
    for size in 3 * [100, 128 * 1024]:
        end, sent = StrictEnd(server), asyncio.Event()
        bodies = [os.urandom(size) for _ in range(64)]

        async def visit(body):
            await end.joined.wait()
            reader, writer = await server.connect(b"")
            answer = await request(reader, writer, f"/go/{end.token}", body)
            assert answer == (200, body), answer
            writer.close()

        async def send():
            await asyncio.sleep(1)
            sent.set()

        await while_serving([end.over_polling(sent)], [send(), *map(visit, bodies)])
        assert all(packets <= 16 and (packets == 1 or taken <= MIB) for packets, taken in end.sizes), end.sizes
        # The limits were reached: the row proves something.
        assert max(end.sizes)[0] == 16 if size == 100 else max(taken for _, taken in end.sizes) > 0.8 * MIB, end.sizes
    return 65


async def unfinished_heads(server):
    """4,000 connections send 62 kB of a head each, and never its end."""
    head = b"GET /new HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 62_000
    held = [await server.connect(head) for _ in range(4000)]
    # Those over the limit of memory are closed.
    await asyncio.gather(*(writer.drain() for _, writer in held), return_exceptions=True)
    await asyncio.sleep(5)
    for _, writer in held:
        writer.close()
    return len(held)


async def crowds_that_wait(server):
    """6,000 visitors of four tunnels whose ends have left, half with bodies that never come, and 2,000 of tunnels that do not
    exist, beside a witness."""
    vacant = [server.make('{"hold":60}') for _ in range(4)]
    for token, key in vacant:
        reader, writer = await server.websocket()
        writer.write(text_frame(f'40/{token},{{"key":"{key}"}}') + text_frame(f'42/{token},["leave"]'))
        while await read_frame(reader) != f"41/{token},":
            pass
        writer.close()
    witness, slowest = await server.end('[200,"here"]'), 0
    held = []
    for number in range(8000):
        token = vacant[number % 4][0] if number % 4 else f"nobody-{number}"
        body = "Content-Length: 10000000\r\n\r\nx" if number % 2 else "\r\n"
        head = f"{'POST' if number % 2 else 'GET'} /go/{token}/ HTTP/1.1\r\nHost: x\r\n{body}"
        held.append(await server.connect(head.encode()))
        if number % 100 == 0:
            started = time.monotonic()
            reader, writer = await server.connect(b"")
            assert await request(reader, writer, f"/go/{witness}") == (200, b"here")
            writer.close()
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1, f"the witness waited {slowest:.2f} s"
    server.serving.cancel()
    for _, writer in held:
        writer.close()
    return len(held) + 1
