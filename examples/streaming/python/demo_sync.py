"""An app on stream_sync.py: a page, an event stream, an upload that is hashed while it arrives, a WebSocket that echoes.

pip install 'python-socketio[client]' && SOCKET2ME_SERVER=http://127.0.0.1:3000 python demo_sync.py
"""

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from urllib.request import Request, urlopen

import socketio

from stream_sync import StreamNamespace

SERVER = os.environ.get('SOCKET2ME_SERVER', 'http://127.0.0.1:3000')
PAGE = Path(__file__).parents[1].joinpath('page.html').read_text()


def handle(exchange):
    match exchange.request['url']:
        case '/':
            return 200, PAGE
        case '/events':
            exchange.head(200, {'content-type': 'text/event-stream'})
            # Until the visitor leaves: `write` ends this thread then.
            while True:
                exchange.write(f'data: {datetime.now().isoformat()}\n\n'.encode())
                exchange.over.wait(1)
        case '/hash':
            digest = hashlib.sha256()
            for chunk in exchange:
                digest.update(chunk)
            return 200, digest.hexdigest(), {'content-type': 'text/plain'}
        case '/echo' if 'upgrade' in exchange.request:
            exchange.head(101)
            for message in exchange:
                exchange.write(message)
        case _:
            return 404, 'nothing here'


def main():
    tunnel = json.load(urlopen(Request(f'{SERVER}/new', b'{}', {'Content-Type': 'application/json'})))
    namespace = f"/{tunnel['token']}"
    client = socketio.Client()
    client.register_namespace(StreamNamespace(namespace, handle))
    client.on('connect', lambda: print('public URL:', tunnel['url'], flush=True), namespace)
    auth = {'key': tunnel['key'], 'stream': {'version': 1, 'window': 1 << 20, 'pull': True}}
    client.connect(SERVER, namespaces=[namespace], auth=auth)
    client.wait()


main()
