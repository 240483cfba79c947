"""An app on stream_async.py: a page, an event stream, an upload that is hashed while it arrives, a WebSocket that echoes.

pip install 'python-socketio[asyncio-client]' && SOCKET2ME_SERVER=http://127.0.0.1:3000 python demo_async.py
"""

import asyncio
import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from urllib.request import Request, urlopen

import socketio

from stream_async import StreamNamespace

SERVER = os.environ.get('SOCKET2ME_SERVER', 'http://127.0.0.1:3000')
PAGE = Path(__file__).parents[1].joinpath('page.html').read_text()


async def handle(exchange):
    match exchange.request['url']:
        case '/':
            return 200, PAGE
        case '/events':
            await exchange.head(200, {'content-type': 'text/event-stream'})
            # Until the visitor leaves: this is cancelled then.
            while True:
                await exchange.write(f'data: {datetime.now().isoformat()}\n\n'.encode())
                await asyncio.sleep(1)
        case '/hash':
            digest = hashlib.sha256()
            async for chunk in exchange:
                digest.update(chunk)
            return 200, digest.hexdigest(), {'content-type': 'text/plain'}
        case '/echo' if 'upgrade' in exchange.request:
            await exchange.head(101)
            async for message in exchange:
                await exchange.write(message)
        case _:
            return 404, 'nothing here'


async def main():
    tunnel = json.load(urlopen(Request(f'{SERVER}/new', b'{}', {'Content-Type': 'application/json'})))
    namespace = f"/{tunnel['token']}"
    client = socketio.AsyncClient()
    client.register_namespace(StreamNamespace(namespace, handle))
    client.on('connect', lambda: print('public URL:', tunnel['url'], flush=True), namespace)
    auth = {'key': tunnel['key'], 'stream': {'version': 1, 'window': 4 << 20}}
    await client.connect(SERVER, namespaces=[namespace], auth=auth)
    await client.wait()


asyncio.run(main())
