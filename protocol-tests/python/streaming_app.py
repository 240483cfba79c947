"""The app of the streaming suite: streaming_app.py async|sync|late URL

With `late`, the threads of the sync Client begin up to 10 ms late, so that they begin in any order.
"""

import asyncio
import random
import re
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import parse_qsl

import socketio

sys.path.insert(0, str(Path(__file__).parents[2] / 'examples/streaming/python'))
import stream_async  # noqa: E402
import stream_sync  # noqa: E402

kind, url = sys.argv[1:]
server, token = url.rsplit('/', 1)


class Note:
    """What the app has noted, or was told to go on with."""

    def __init__(self):
        self.text, self.kept = None, asyncio.Event()

    def keep(self, text):
        if not self.kept.is_set():
            self.text = text
            self.kept.set()

    async def wait(self, exchange):
        await self.kept.wait()
        return self.text


class SyncNote(Note):
    def __init__(self):
        self.text, self.kept = None, threading.Event()

    def wait(self, exchange):
        # Nothing interrupts a thread that waits, so it looks for both.
        while not self.kept.wait(0.01):
            if exchange.over.is_set():
                raise SystemExit
        return self.text


def routes(**given):
    text = Path(__file__).with_name('streaming_routes.py').read_text()
    if kind != 'async':
        text = re.sub(r'\b(async|await) ', '', text)
    exec(compile(text, 'streaming_routes.py', 'exec'), given)
    return given['ROUTES']


def arguments(exchange):
    return exchange, dict(parse_qsl(exchange.request['search'][1:]))


def saying(base):
    """Returns a namespace that says whether it is connected."""
    class End(base):
        def on_connect(self):
            print('connected', flush=True)

        def on_disconnect(self, *why):
            print('disconnected', flush=True)
            super().on_disconnect(*why)
    return End


OPTIONS = {'reconnection_delay': 0.02, 'reconnection_delay_max': 0.05}
CONNECT = {'transports': ['websocket'], 'namespaces': [f'/{token}']}


async def run():
    table = routes(notes=defaultdict(Note), sleep=asyncio.sleep)

    async def handle(exchange):
        return await table[exchange.request['url']](*arguments(exchange))
    client = socketio.AsyncClient(**OPTIONS)
    client.register_namespace(saying(stream_async.StreamNamespace)(f'/{token}', handle))
    await client.connect(server, auth={'stream': {'version': 1, 'window': 1 << 20}}, **CONNECT)
    await client.wait()


class LateClient(socketio.Client):
    def _handle_event(self, namespace, id, data):
        time.sleep(random.random() / 100)
        super()._handle_event(namespace, id, data)


def run_sync():
    table = routes(notes=defaultdict(SyncNote), sleep=time.sleep)
    client = (LateClient if kind == 'late' else socketio.Client)(**OPTIONS)
    client.register_namespace(saying(stream_sync.StreamNamespace)(
        f'/{token}', lambda exchange: table[exchange.request['url']](*arguments(exchange))))
    client.connect(server, auth={'stream': {'version': 1, 'window': 1 << 20, 'pull': True}}, **CONNECT)
    client.wait()


if kind == 'async':
    asyncio.run(run())
else:
    run_sync()
