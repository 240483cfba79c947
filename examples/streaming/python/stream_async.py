"""An end that streams, on python-socketio's AsyncClient. Copy this file; PROTOCOL.md has the protocol."""

import asyncio

import socketio


class StreamNamespace(socketio.AsyncClientNamespace):
    """Calls `await handler(exchange)` for each request: `client.register_namespace(StreamNamespace('/TOKEN', handler))`.

    The client must have asked: `client.connect(url, auth={'stream': {'version': 1, 'window': 4 << 20}})`. The window is what
    the server may send of one body unacked.

    When the handler returns, the response has ended. If it has not begun, what the handler returns is the answer: `(status,
    body, headers)`. If the handler raises, the visitor gets 502, or a transfer that breaks if it has begun. When the visitor
    leaves, or the session is lost, the handler is cancelled.
    """

    def __init__(self, namespace, handler):
        super().__init__(namespace)
        self.handler, self.exchanges = handler, {}

    def on_ready(self, ready):
        self.chunk = ready['chunk']

    async def on_request(self, request):
        exchange = self.exchanges[request['id']] = Exchange(self, request)
        try:
            answer = await self.handler(exchange)
            return self.exchanges.pop(request['id'], None) and (await exchange.end() if exchange.status else answer)
        finally:
            if self.exchanges.pop(request['id'], None):
                await self.emit('abort', (request['id'], 'local-gone'))
            while not exchange.arrived.empty():
                exchange.arrived.get_nowait()[1].set()

    # A part is acked when its method returns; at once, if its exchange is over.
    async def on_data(self, id, part, offset):
        await self.take(id, offset, len(part), part)

    async def on_message(self, id, part, more, number):
        await self.take(id, number, 1, part, more)

    async def on_end(self, id, size, trailers=None):
        await self.take(id, size, 0, trailers=trailers)

    async def on_close(self, id, parts, *closed):
        await self.take(id, parts, 0, closed=closed)

    async def take(self, id, at, size, part=None, more=False, **last):
        if exchange := self.exchanges.get(id):
            if at != exchange.received:
                exchange.task.cancel()
            exchange.received += size
            exchange.request.update(last)
            exchange.parts.append(part)
            if not more:
                parts, exchange.parts = exchange.parts, []
                # Methods begin in order and end in any: a part takes its place before the first `await`.
                exchange.arrived.put_nowait((part if size == 0 else part[:0].join(parts), acked := asyncio.Event()))
                await acked.wait()

    def on_abort(self, id, *why):
        if id in self.exchanges:
            self.exchanges.pop(id).task.cancel()

    def on_disconnect(self, *why):
        for id in list(self.exchanges):
            self.on_abort(id)


class Exchange:
    """A request and its response.

    `request` is the event's dict. `async for part in exchange` reads its body; after it `request['trailers']` may be there.
    `await exchange.head(status, headers)` begins the response, `await exchange.write(part)` goes on, and `trailers` are sent
    at its end. Parts are bytes.

    For a WebSocket `request['upgrade']` is `'websocket'`. `head(101)` accepts it, and any other status refuses it. Then parts
    are messages, `str` or `bytes`. After the visitor's last, `request['closed']` is its code and reason, and `closing` is the
    end's own.
    """

    status, trailers, closing, received, sent, unacked = None, None, (1000, ''), 0, 0, 0

    def __init__(self, namespace, request):
        self.namespace, self.request, self.id, self.window = namespace, request, request['id'], request['window']
        self.arrived, self.acks, self.writing = asyncio.Queue(), asyncio.Queue(), asyncio.Lock()
        self.task, self.parts = asyncio.current_task(), []
        for part in () if request['streamed'] or 'upgrade' in request else (request.get('body', b''), None):
            self.arrived.put_nowait((part, asyncio.Event()))

    async def __aiter__(self):
        while (item := await self.arrived.get())[0] is not None:
            item[1].set()
            yield item[0]

    async def head(self, status, headers={}):
        self.status = status
        await self.namespace.emit('response', (self.id, status, headers))

    async def write(self, item):
        event, is_text = 'message' if self.status == 101 else 'data', isinstance(item, str)
        # No character has more than four bytes.
        size = self.namespace.chunk // 4 if is_text else self.namespace.chunk
        async with self.writing:
            for at in range(0, max(len(item), 1), size):
                part, more = item[at:at + size], [at + size < len(item)] if event == 'message' else []
                cost = len(part.encode() if is_text else part) + 256
                while self.unacked and self.unacked + cost > self.window:
                    paid, raised = await self.acks.get()
                    self.unacked, self.window = self.unacked - paid, raised or self.window
                args = (self.id, part, *more, self.sent)
                acked = lambda raised=None, cost=cost: self.acks.put_nowait((cost, raised))
                self.unacked, self.sent = self.unacked + cost, self.sent + (1 if more else len(part))
                await self.namespace.emit(event, args, callback=acked)

    async def end(self):
        id, last = self.id, self.closing if self.status == 101 else (self.trailers or {},)
        await self.namespace.emit('close' if self.status == 101 else 'end', (id, self.sent, *last))
