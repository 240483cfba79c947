"""The routes of the streaming suite's app in Python. protocol-tests/node/streaming-app.mjs is their like.

streaming_app.py runs this text, for the Client without `async` and `await`. It gives `notes` and `sleep`.
"""

import hashlib
import json
import random

PATTERN = bytes(range(251)) * 300


def pattern(at, size):
    return PATTERN[at % 251:at % 251 + size]


async def pause(query):
    if 'jitter' in query:
        await sleep(random.random() / 100)


async def digested(exchange, query):
    hashed, size = hashlib.sha256(), 0
    async for chunk in exchange:
        await pause(query)
        size += len(chunk)
        hashed.update(chunk)
    length = exchange.request['headers'].get('content-length')
    seen = {'size': size, 'sha256': hashed.hexdigest(), 'length': length, 'streamed': exchange.request['streamed']}
    return json.dumps(seen).encode()


async def hello(exchange, query):
    await exchange.head(200, {'content-type': 'text/plain', 'x-lines': ['one', 'two']})
    await exchange.write(b'hello ' + exchange.request['method'].encode())


async def whole(exchange, query):
    return 201, 'whole', {'x-way': 'ack'}


async def numbers(exchange, query):
    size = int(query['size'])
    await exchange.head(200, {'content-length': query['size']} if 'length' in query else {})
    for at in range(0, size, 50_000):
        await pause(query)
        await exchange.write(pattern(at, min(50_000, size - at)))


async def empty(exchange, query):
    await exchange.head(204, {'x-empty': 'yes'})


async def trailers(exchange, query):
    await exchange.head(200, {'trailer': 'x-checked'})
    exchange.trailers = {'x-checked': 'yes'}
    await exchange.write(b'body')


async def digest(exchange, query):
    text = await digested(exchange, query)
    await exchange.head(200, {'content-type': 'application/json'})
    await exchange.write(text)


async def early(exchange, query):
    await exchange.head(403)
    await exchange.write(b'too early to tell')


async def echo(exchange, query):
    await exchange.head(200)
    async for chunk in exchange:
        await pause(query)
        await exchange.write(chunk)


async def events(exchange, query):
    await exchange.head(200, {'content-type': 'text/event-stream'})
    await exchange.write(b'data: first\n\n')
    await notes[query['name']].wait(exchange)
    await exchange.write(b'data: second\n\n')


async def tell(exchange, query):
    notes[query['name']].keep('told')
    return 204,


async def heard(exchange, query):
    return 200, await notes[query['name']].wait(exchange)


async def endless(exchange, query):
    try:
        await exchange.head(200)
        at = 0
        while True:
            await exchange.write(pattern(at, 50_000))
            at += 50_000
    finally:
        notes[query['name']].keep('left')


async def swallow(exchange, query):
    try:
        async for chunk in exchange:
            notes[query['name'] + '-begun'].keep('begun')
    finally:
        notes[query['name']].keep('left')


async def later(exchange, query):
    notes[query['name'] + '-begun'].keep('begun')
    try:
        await notes[query['name']].wait(exchange)
        await digest(exchange, query)
    finally:
        notes[query['name'] + '-over'].keep('left')


async def slow(exchange, query):
    await sleep(random.random() / 10)
    await exchange.head(200)
    await exchange.write(b'slow')


async def fail(exchange, query):
    raise RuntimeError('as the test wants it')


async def fail_later(exchange, query):
    await exchange.head(200, {'content-length': '100000'} if 'length' in query else {})
    await exchange.write(pattern(0, 50_000))
    raise RuntimeError('as the test wants it')


async def chat(exchange, query):
    asked = exchange.request['headers'].get('sec-websocket-protocol')
    await exchange.head(101, {'sec-websocket-protocol': asked.split(',')[0]} if asked else {})
    try:
        async for message in exchange:
            if message == 'fail':
                raise RuntimeError('as the test wants it')
            if message == 'leave':
                exchange.closing = (4001, 'as you like')
                return
            await exchange.write(message)
        if 'name' in query:
            notes[query['name'] + '-closed'].keep(json.dumps(exchange.request['closed'], separators=(',', ':')))
    finally:
        if 'name' in query:
            notes[query['name']].keep('left')


async def refuse(exchange, query):
    await exchange.head(403, {'x-refused': 'yes'})
    await exchange.write(b'no WebSockets here')


ROUTES = {
    '/hello': hello, '/whole': whole, '/bytes': numbers, '/empty': empty, '/trailers': trailers, '/digest': digest,
    '/early': early, '/echo': echo, '/events': events, '/tell': tell, '/heard': heard, '/endless': endless,
    '/swallow': swallow, '/later': later, '/slow': slow, '/fail': fail, '/fail-later': fail_later, '/chat': chat,
    '/refuse': refuse,
}
