// What an end can receive and answer, over every transport.

import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { TRANSPORTS, event, inbox, serve, visit } from './support.mjs';

const limit = { timeout: 20_000 };
const FIVE_MIB = 5 << 20;
const ALL_BYTES = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256));
const WORLD = 'größer ≠ 日本語 😀 𝄞 \u2028 "\\ \u0000 e\u0301';
const json = { 'Content-Type': 'application/json' };

/** An upload as an octet-stream, so that the end gets its body as a Buffer. */
const upload = (body) => ({ method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body });

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: the end uses the transport it asked for`, limit, async (t) => {
    const server = await serve(t);
    const end = await server.end(await server.token(), transport);
    const { engine } = end.io;
    if (name === 'upgrade' && engine.transport.name === 'polling') await event(engine, 'upgrade');
    assert.deepStrictEqual(engine.transport.name, name === 'polling' ? 'polling' : 'websocket');
  });

  test(`${name}: a GET reaches the end, and its ack the visitor`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const seen = [];
    await server.end(token, transport, (request, respond) => {
      seen.push(request);
      respond(201, 'made', { 'X-Made-By': 'test' });
    });
    const answer = await server.visit(token, '/hello%20you?a[b]=c&l=1&l=2');
    assert.deepStrictEqual([answer.status, answer.text], [201, 'made']);
    assert.deepStrictEqual(answer.headers['x-made-by'], 'test');
    assert.deepStrictEqual(answer.headers['content-type'], 'text/html; charset=utf-8');
    assert.deepStrictEqual(answer.headers['x-provided-by'], 'Socket2Me');
    assert.deepStrictEqual(seen.length, 1);
    const { method, url, query, search, body, id } = seen[0];
    assert.deepStrictEqual({ method, url, query, search, body }, {
      method: 'GET',
      url: '/hello%20you',
      query: { a: { b: 'c' }, l: ['1', '2'] },
      search: '?a[b]=c&l=1&l=2',
      body: {},
    });
    assert.deepStrictEqual(answer.headers['x-request-id'], id);
  });

  test(`${name}: a JSON body is echoed`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    await server.end(token, transport, (request, respond) => respond(200, request.body));
    const value = { z: [1, 2.5, -3e-7, true, null, 'x'], a: { b: { c: {} } }, text: WORLD };
    const answer = await server.visit(token, '', { method: 'POST', headers: json, body: JSON.stringify(value) });
    assert.deepStrictEqual(answer.status, 200);
    assert.deepStrictEqual(answer.headers['content-type'], 'application/json; charset=utf-8');
    assert.deepStrictEqual(answer.text, JSON.stringify(value));
  });

  test(`${name}: bytes arrive unchanged, both ways`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const seen = [];
    await server.end(token, transport, (request, respond) => {
      seen.push(request.body);
      respond(200, Buffer.from(request.body).reverse(), { 'content-type': 'image/png' });
    });
    const answer = await server.visit(token, '', upload(ALL_BYTES));
    assert.deepStrictEqual(seen, [ALL_BYTES]);
    assert.deepStrictEqual([answer.status, answer.headers['content-type']], [200, 'image/png']);
    assert.deepStrictEqual(answer.headers['content-length'], String(ALL_BYTES.length));
    assert.deepStrictEqual(answer.body, Buffer.from(ALL_BYTES).reverse());
  });

  test(`${name}: text in many scripts arrives unchanged, both ways`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const seen = [];
    await server.end(token, transport, (request, respond) => {
      seen.push(request.body);
      respond(200, `${request.body}|${WORLD}`);
    });
    const headers = { 'Content-Type': 'text/plain; charset=utf-8' };
    const answer = await server.visit(token, '', { method: 'POST', headers, body: WORLD });
    assert.deepStrictEqual(seen, [WORLD]);
    assert.deepStrictEqual(answer.body, Buffer.from(`${WORLD}|${WORLD}`));
  });

  test(`${name}: 5 MiB of bytes arrive unchanged, each way`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '60s']);
    const token = await server.token();
    const there = randomBytes(FIVE_MIB);
    const back = randomBytes(FIVE_MIB);
    const seen = [];
    const end = await server.end(token, transport, (request, respond) => {
      seen.push(request.body);
      respond(200, back);
    });
    const { id } = end;
    const answer = await server.visit(token, '', upload(there));
    assert.deepStrictEqual(answer.status, 200);
    assert.deepStrictEqual(seen.map((body) => there.equals(body)), [true]);
    assert.deepStrictEqual(back.equals(answer.body), true);
    assert.deepStrictEqual(end.id, id);
  });

  test(`${name}: 5 MiB of text arrive unchanged, each way`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '60s']);
    const token = await server.token();
    // Characters of one, two and four bytes, so that a cut inside a character would show.
    const there = 'aé😀\n'.repeat(FIVE_MIB / 8);
    const back = '𝄞"x\\'.repeat(FIVE_MIB / 8);
    const seen = [];
    await server.end(token, transport, (request, respond) => {
      seen.push(request.body);
      respond(200, back);
    });
    const headers = { 'Content-Type': 'text/plain' };
    const answer = await server.visit(token, '', { method: 'POST', headers, body: there });
    assert.deepStrictEqual(answer.status, 200);
    assert.deepStrictEqual(seen.map((body) => body === there), [true]);
    assert.deepStrictEqual(answer.text === back, true);
  });

  test(`${name}: 200 concurrent exchanges, answered out of order, each get their own answer`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const end = await server.end(token, transport);
    const requests = inbox(end);
    const count = 200;
    const answers = Array.from({ length: count }, (_, number) => server.visit(token, `/${number}`));
    const arrived = [];
    while (arrived.length < count) arrived.push(await requests.next());
    // The odd numbers first, then the even ones, each from the highest to the lowest.
    for (const odd of [1, 0]) {
      for (let index = count - 1; index >= 0; index -= 1) {
        const { request, respond } = arrived[index];
        if (index % 2 === odd) respond(200, `answer to ${request.url}`);
      }
    }
    const texts = (await Promise.all(answers)).map((answer) => answer.text);
    assert.deepStrictEqual(texts, Array.from({ length: count }, (_, number) => `answer to /${number}`));
    assert.deepStrictEqual(new Set(arrived.map(({ request }) => request.url)).size, count);
    assert.deepStrictEqual(requests.unread, 0);
  });
}

test('an end that names subprotocols connects, and the first is picked', limit, async (t) => {
  const server = await serve(t);
  const protocols = ['v2.example', 'v1.example'];
  for (const transports of [['websocket'], ['polling', 'websocket']]) {
    const end = await server.end(await server.token(), { transports, protocols });
    if (end.io.engine.transport.name !== 'websocket') await event(end.io.engine, 'upgrade');
    assert.deepStrictEqual(end.io.engine.transport.ws.protocol, 'v2.example', transports.join());
  }
});

test('programs are answered at a tunnel without a slash, and browsers are sent to one', limit, async (t) => {
  const server = await serve(t);
  const token = await server.token();
  await server.end(token, {}, (request, respond) => respond(200, `${request.headers['x-forwarded-prefix']} ${request.url}`));
  const url = `${server.url}/go/${token}`;
  const text = `/go/${token} /`;
  assert.deepStrictEqual((await visit(url)).text, text, 'http');
  assert.deepStrictEqual(await (await fetch(url)).text(), text, 'undici');
  const sent = await visit(`${url}?a=b`, { headers: { accept: 'text/html' } });
  assert.deepStrictEqual(new URL(sent.headers.location, url).href, `${url}/?a=b`);
  assert.deepStrictEqual((await visit(new URL(sent.headers.location, url))).text, text, 'a browser');
});
