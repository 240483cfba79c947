"""An end that streams, on python-socketio's Client and its threads. Copy this file; PROTOCOL.md has the protocol.

`stream_async.py` is faster, and simpler: this is for programs that have no asyncio.
"""

import threading
from collections import deque

import socketio


class StreamNamespace(socketio.ClientNamespace):
    """Calls `handler(exchange)` for each request: `client.register_namespace(StreamNamespace('/TOKEN', handler))`.

    The client must have asked: `client.connect(url, auth={'stream': {'version': 1, 'window': 1 << 20, 'pull': True}})`. The
    window is what the server may send of one body unacked: a thread waits for each 64 KiB of it.

    When the handler returns, the response has ended. If it has not begun, what the handler returns is the answer: `(status,
    body, headers)`. If the handler raises, the visitor gets 502, or a transfer that breaks if it has begun. When the visitor
    leaves, or the session is lost, the exchange raises SystemExit, which ends the handler's thread and nothing else.
    """

    def __init__(self, namespace, handler):
        super().__init__(namespace)
        # Each event has a thread of its own, and they begin in any order: an abort may overtake its request.
        self.handler, self.exchanges, self.aborted = handler, {}, deque(maxlen=1000)

    def _set_client(self, client):
        # An event with bytes is several messages. The client reads each in a thread of its own, and now and then puts them
        # together wrongly; it also sends those of other threads between them. So they are read in order, and sent together.
        super()._set_client(client)
        lock, send, read, handle = threading.Lock(), client._send_packet, client.eio._trigger_event, client._handle_event
        client._send_packet = lambda packet: send_whole(lock, send, packet)
        client.eio._trigger_event = lambda *event, **options: read(*event, **{**options, 'run_async': False})
        client._handle_event = lambda *event: (
            handle(*event) if event[2][0] == 'ready' else client.start_background_task(handle, *event))

    def on_ready(self, ready):
        self.chunk = ready['chunk']

    def on_request(self, request):
        exchange = self.exchanges[request['id']] = Exchange(self, request)
        self.emit('pull', request['id'])
        try:
            answer = None if request['id'] in self.aborted else self.handler(exchange)
            return self.exchanges.pop(request['id'], None) and (exchange.end() if exchange.status else answer)
        finally:
            exchange.leave()
            if self.exchanges.pop(request['id'], None):
                self.emit('abort', (request['id'], 'local-gone'))

    # A part is acked when its method returns; at once, if its exchange is over.
    def on_data(self, id, part, offset):
        self.take(id, offset, len(part), part)

    def on_message(self, id, part, more, number):
        self.take(id, number, 1, part, more)

    def on_end(self, id, size, trailers=None):
        self.take(id, size, 0, trailers=trailers)

    def on_close(self, id, parts, *closed):
        self.take(id, parts, 0, closed=closed)

    def take(self, id, at, size, part=None, more=False, **last):
        if exchange := self.exchanges.get(id):
            with exchange.changed:
                # Methods begin in any order: each waits for those before it, and then for room.
                exchange.changed.wait_for(lambda: exchange.over.is_set() or exchange.received == at and not exchange.arrived)
                exchange.received += size
                exchange.request.update(last)
                exchange.parts.append(part)
                if not more:
                    exchange.arrived, exchange.parts = [part if size == 0 else part[:0].join(exchange.parts)], []
                exchange.changed.notify_all()

    def on_abort(self, id, *why):
        self.aborted.append(id)
        if exchange := self.exchanges.pop(id, None):
            exchange.leave()

    def on_disconnect(self, *why):
        for id in list(self.exchanges):
            self.on_abort(id)


class Exchange:
    """A request and its response.

    `request` is the event's dict. `for part in exchange` reads its body; after it `request['trailers']` may be there.
    `exchange.head(status, headers)` begins the response, `exchange.write(part)` goes on, and `trailers` are sent at its end.
    Parts are bytes. `over` is a `threading.Event`, for handlers that wait for something else.

    For a WebSocket `request['upgrade']` is `'websocket'`. `head(101)` accepts it, and any other status refuses it. Then parts
    are messages, `str` or `bytes`. After the visitor's last, `request['closed']` is its code and reason, and `closing` is the
    end's own.
    """

    status, trailers, closing, received, sent, unacked = None, None, (1000, ''), 0, 0, 0

    def __init__(self, namespace, request):
        self.namespace, self.id, self.request, self.window = namespace, request['id'], request, request['window']
        self.changed, self.over, self.writing = threading.Condition(), threading.Event(), threading.RLock()
        self.parts, self.arrived = [], [] if request['streamed'] or 'upgrade' in request else [None, request.get('body', b'')]

    def wait(self, condition):
        self.changed.wait_for(lambda: condition() or self.over.is_set())
        if self.over.is_set():
            raise SystemExit

    def read(self):
        with self.changed:
            self.wait(lambda: self.arrived)
            self.changed.notify_all()
            return self.arrived.pop()

    def __iter__(self):
        return iter(self.read, None)

    def head(self, status, headers={}):
        self.status = status
        self.namespace.emit('response', (self.id, status, headers))

    def write(self, item):
        event, is_text = 'message' if self.status == 101 else 'data', isinstance(item, str)
        # No character has more than four bytes.
        size = self.namespace.chunk // 4 if is_text else self.namespace.chunk
        with self.writing:
            for at in range(0, max(len(item), 1), size):
                part, more = item[at:at + size], [at + size < len(item)] if event == 'message' else []
                cost = len(part.encode() if is_text else part) + 256
                with self.changed:
                    self.wait(lambda: not self.unacked or self.unacked + cost <= self.window)
                    sent, self.sent, self.unacked = self.sent, self.sent + (1 if more else len(part)), self.unacked + cost
                self.namespace.emit(event, (self.id, part, *more, sent), callback=lambda new=0, cost=cost: self.acked(cost, new))

    def acked(self, cost, window=None):
        with self.changed:
            self.unacked, self.window = self.unacked - cost, window or self.window
            self.changed.notify_all()

    def end(self):
        event, last = ('close', self.closing) if self.status == 101 else ('end', (self.trailers or {},))
        self.namespace.emit(event, (self.id, self.sent, *last))

    def leave(self):
        self.over.set()
        self.acked(0)


def send_whole(lock, send, packet):
    with lock:
        send(packet)
