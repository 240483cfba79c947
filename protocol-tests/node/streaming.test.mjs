// Bodies of any size, event streams and WebSockets of visitors, through each kind of end.

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import WebSocket from 'ws';
import { proxy } from './proxy.mjs';
import { ENDS } from './streaming-ends.mjs';
import { event, serve, visit } from './support.mjs';

const FIVE_MIB = 5 << 20;
const ALL_BYTES = Uint8Array.from({ length: 251 }, (_, index) => index);
/** What `/bytes` answers, and what is uploaded. */
const pattern = (size) => Buffer.alloc(size, ALL_BYTES);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
let names = 0;
const unique = () => `name-${names += 1}`;

/** A server with a tunnel, and an end that reaches it through a proxy, which cuts its connections. */
async function open(t, { start }) {
  const server = await serve(t, ['--response-timeout', '60s', '--throttle-interval-ms', '0', '--drain-timeout', '1s']);
  const token = await server.token();
  const { url, cut } = await proxy(t, server.port);
  const end = await start(t, `${url}/${token}`);
  await end.connected(1);
  const base = `${server.url}/go/${token}`;
  const get = (path, options) => visit(base + path, options);
  return { base, cut, end, get, heard: async (name) => (await get(`/heard?name=${name}`)).text };
}

/** Begins a request, whose response arrives in parts. */
async function begin(url, options = {}) {
  const request = http.request(url, { agent: false, ...options });
  // A test that breaks the request does not wait for it.
  request.on('error', () => {});
  return request;
}

/** Begins a GET and waits for its head. */
async function download(url) {
  const request = await begin(url);
  request.end();
  const [response] = await once(request, 'response');
  response.on('error', () => {});
  return { request, response };
}

/** Reads a response as far as it comes: whether it is whole, and its size. */
async function drained(response) {
  let size = 0;
  response.on('data', (chunk) => { size += chunk.length; });
  await new Promise((resolve) => response.on('close', resolve));
  return { isWhole: response.complete, size };
}

const chunked = (method, body) => ({ method, body, headers: { 'transfer-encoding': 'chunked' } });

/** A WebSocket of a visitor, whose messages are waited for one by one. */
async function visitor(t, base, path, ...protocols) {
  const socket = new WebSocket(base.replace('http', 'ws') + path, protocols, { perMessageDeflate: false });
  t.after(() => socket.terminate());
  const messages = [], waiting = [];
  socket.on('message', (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    if (waiting.length > 0) waiting.shift()(message);
    else messages.push(message);
  });
  const closed = once(socket, 'close').then(([code, reason]) => [code, reason.toString()]);
  await once(socket, 'open');
  const later = () => new Promise((resolve) => waiting.push(resolve));
  const next = async () => (messages.length > 0 ? messages.shift() : later());
  return { socket, next, closed };
}

const CASES = {
  async 'a small download arrives with its head'(t, { get }) {
    const { status, text, headers } = await get('/hello');
    assert.deepStrictEqual([status, text, headers['content-type']], [200, 'hello GET', 'text/plain']);
    assert.strictEqual(headers['x-lines'], 'one, two');
  },

  async 'an ack is a whole answer'(t, { get }) {
    const { status, text, headers } = await get('/whole');
    assert.deepStrictEqual([status, text, headers['x-way'], headers['content-length']], [201, 'whole', 'ack', '5']);
  },

  async '5 MiB arrive, with and without a length'(t, { get }) {
    for (const [length, header] of [['', undefined], ['&length=1', String(FIVE_MIB)]]) {
      const { status, body, headers } = await get(`/bytes?size=${FIVE_MIB}${length}`);
      assert.deepStrictEqual([status, headers['content-length'], body.equals(pattern(FIVE_MIB))], [200, header, true]);
    }
  },

  async 'a body that ends at once, and one that is long, keep their head for HEAD'(t, { get }) {
    for (const size of [0, 300_000]) {
      const { status, body, headers } = await get(`/bytes?size=${size}&length=1`, { method: 'HEAD' });
      assert.deepStrictEqual([status, body.length, headers['content-length']], [200, 0, String(size)]);
    }
    const { status, body } = await get('/bytes?size=0');
    assert.deepStrictEqual([status, body.length], [200, 0]);
  },

  async '204 has a head alone'(t, { get }) {
    const { status, body, headers } = await get('/empty');
    assert.deepStrictEqual([status, body.length, headers['x-empty']], [204, 0, 'yes']);
  },

  async 'trailers arrive at a visitor who asks for them'(t, { base }) {
    const request = await begin(`${base}/trailers`, { headers: { TE: 'trailers', Connection: 'TE' } });
    request.end();
    const [response] = await once(request, 'response');
    const { isWhole, size } = await drained(response);
    assert.deepStrictEqual([isWhole, size, response.trailers], [true, 4, { 'x-checked': 'yes' }]);
  },

  async 'uploads arrive whole, with and without a length'(t, { get }) {
    for (const size of [0, 1, 65_536, 65_537, FIVE_MIB]) {
      const body = pattern(size);
      for (const options of [{ method: 'POST', body }, chunked('POST', body), chunked('DELETE', body)]) {
        const hasLength = options.headers === undefined;
        const { status, text } = await get('/digest', options);
        const { streamed, ...seen } = JSON.parse(text);
        const length = hasLength ? String(size) : null;
        assert.deepStrictEqual([status, seen], [200, { size, sha256: sha256(body), length }], `${options.method} of ${size}`);
        // A body whose length is known and that is small comes with the request.
        if (hasLength) assert.strictEqual(streamed, size > 65_536);
      }
    }
  },

  async 'an upload is answered while it goes on'(t, { base }) {
    const request = await begin(`${base}/early`, { method: 'POST' });
    request.write(pattern(300_000));
    const [response] = await once(request, 'response');
    assert.strictEqual(response.statusCode, 403);
    assert.strictEqual((await response.toArray()).join(''), 'too early to tell');
    request.destroy();
  },

  async 'a body is echoed while it arrives'(t, { base }) {
    const request = await begin(`${base}/echo`, { method: 'POST' });
    request.write('one');
    const [response] = await once(request, 'response');
    const parts = response[Symbol.asyncIterator]();
    assert.strictEqual(String((await parts.next()).value), 'one');
    request.write('two');
    assert.strictEqual(String((await parts.next()).value), 'two');
    request.end();
    assert.ok((await parts.next()).done);
    assert.ok(response.complete);
  },

  async 'bodies arrive unchanged where the app takes its time'(t, { get }) {
    const body = pattern(1 << 20);
    const [echo, digest, bytes] = await Promise.all([
      get('/echo?jitter=1', chunked('POST', body)),
      get('/digest?jitter=1', { method: 'POST', body }),
      get(`/bytes?jitter=1&size=${1 << 20}`),
    ]);
    assert.ok(echo.body.equals(body) && bytes.body.equals(body));
    assert.strictEqual(JSON.parse(digest.text).sha256, sha256(body));
  },

  async 'an event reaches its visitor before the stream ends'(t, { base, get }) {
    const name = unique();
    const { response } = await download(`${base}/events?name=${name}`);
    assert.strictEqual(response.headers['content-type'], 'text/event-stream');
    const parts = response[Symbol.asyncIterator]();
    assert.strictEqual(String((await parts.next()).value), 'data: first\n\n');
    assert.strictEqual((await get(`/tell?name=${name}`)).status, 204);
    assert.strictEqual(String((await parts.next()).value), 'data: second\n\n');
    assert.ok((await parts.next()).done);
    assert.ok(response.complete);
  },

  async 'a WebSocket gets its text and bytes back, also in many parts'(t, { base }) {
    const { socket, next, closed } = await visitor(t, base, '/chat', 'first', 'second');
    assert.strictEqual(socket.protocol, 'first');
    // 300 KiB of text whose characters have one to four bytes.
    const long = 'aé€😀'.repeat(30_720);
    for (const message of ['', 'hello', 'é€😀\0"', Buffer.alloc(0), pattern(1000), pattern(300 << 10), long]) {
      socket.send(message);
      assert.deepStrictEqual(await next(), message);
    }
    for (let number = 0; number < 100; number += 1) socket.send(String(number));
    for (let number = 0; number < 100; number += 1) assert.strictEqual(await next(), String(number));
    socket.close(1000);
    assert.deepStrictEqual(await closed, [1000, '']);
  },

  async 'both sides close a WebSocket with their codes'(t, { base, heard }) {
    const name = unique();
    const first = await visitor(t, base, `/chat?name=${name}`);
    first.socket.close(4002, 'enough');
    assert.strictEqual((await first.closed)[0], 4002);
    assert.strictEqual(await heard(`${name}-closed`), '[4002,"enough"]');
    const second = await visitor(t, base, '/chat');
    second.socket.send('leave');
    assert.deepStrictEqual(await second.closed, [4001, 'as you like']);
  },

  async 'a WebSocket is refused with a status and a body'(t, { base }) {
    const socket = new WebSocket(`${base.replace('http', 'ws')}/refuse`);
    const [, response] = await once(socket, 'unexpected-response');
    assert.deepStrictEqual([response.statusCode, response.headers['x-refused']], [403, 'yes']);
    assert.strictEqual((await response.toArray()).join(''), 'no WebSockets here');
    const { status } = await fetch(`${base}/refuse`);
    assert.strictEqual(status, 403, 'a request that asks for no WebSocket');
  },

  async 'a WebSocket breaks when its app fails, and the app hears of a visitor who vanishes'(t, { base, heard }) {
    const broken = await visitor(t, base, '/chat');
    broken.socket.send('fail');
    assert.strictEqual((await broken.closed)[0], 1014);
    const name = unique();
    const vanishing = await visitor(t, base, `/chat?name=${name}`);
    vanishing.socket.send('here');
    await vanishing.next();
    vanishing.socket.terminate();
    assert.strictEqual(await heard(name), 'left');
  },

  async 'the app hears that a visitor leaves a download, read or not'(t, { base, heard }) {
    for (const isRead of [true, false]) {
      const name = unique();
      const { request, response } = await download(`${base}/endless?name=${name}`);
      if (isRead) await once(response, 'data');
      request.destroy();
      assert.strictEqual(await heard(name), 'left');
    }
  },

  async 'the app hears that a visitor leaves an upload, read or not'(t, { base, heard }) {
    for (const [path, over] of [['/swallow', ''], ['/later', '-over']]) {
      const name = unique();
      const request = await begin(`${base}${path}?name=${name}`, { method: 'POST' });
      // More than the server's first window. The rest must fit into its kernel's buffer, or the end of the connection, which
      // comes behind it, does not reach the server.
      request.write(pattern(320 << 10));
      assert.strictEqual(await heard(`${name}-begun`), 'begun');
      request.destroy();
      assert.strictEqual(await heard(name + over), 'left');
    }
  },

  async 'an upload that waits for its app arrives whole'(t, { get, heard }) {
    const name = unique();
    const body = pattern(FIVE_MIB);
    const answer = get(`/later?name=${name}`, { method: 'POST', body });
    await heard(`${name}-begun`);
    // Others do not wait for it.
    assert.strictEqual((await get('/digest', chunked('POST', pattern(100_000)))).status, 200);
    await get(`/tell?name=${name}`);
    assert.strictEqual(JSON.parse((await answer).text).sha256, sha256(body));
  },

  async 'visitors and handlers that stand still stop nobody else'(t, { base, get, heard }) {
    const body = pattern(FIVE_MIB);
    const standing = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
      const name = unique();
      if (index % 2) {
        // Paused: nothing of the response is read.
        const { request } = await download(`${base}/endless?name=${name}`);
        return { request, over: name };
      }
      const request = await begin(`${base}/later?name=${name}`, { method: 'POST' });
      request.write(pattern(320 << 10));
      await heard(`${name}-begun`);
      return { request, over: `${name}-over` };
    }));
    assert.ok((await get(`/bytes?size=${FIVE_MIB}`)).body.equals(body));
    assert.strictEqual(JSON.parse((await get('/digest', { method: 'POST', body })).text).sha256, sha256(body));
    for (const { request } of standing) request.destroy();
    for (const { over } of standing) assert.strictEqual(await heard(over), 'left');
  },

  async 'an app that fails before its head gives 502, and after it a transfer that breaks'(t, { base, get }) {
    for (const options of [{}, { method: 'POST', body: pattern(100) }, chunked('POST', pattern(300_000))]) {
      assert.strictEqual((await get('/fail', options)).status, 502);
    }
    for (const query of ['', '?length=1']) {
      const { response } = await download(`${base}/fail-later${query}`);
      assert.strictEqual(response.statusCode, 200);
      const { isWhole, size } = await drained(response);
      assert.ok(!isWhole, 'it looks complete');
      assert.ok(size <= 50_000);
    }
  },

  async '200 small requests and 10 of a mebibyte each way share one end'(t, { get }) {
    const body = pattern(1 << 20);
    const small = Array.from({ length: 200 }, (_, index) => get(index % 2 ? '/slow' : '/hello'));
    const down = Array.from({ length: 10 }, () => get(`/bytes?size=${1 << 20}`));
    const up = Array.from({ length: 10 }, () => get('/digest', chunked('PUT', body)));
    const texts = (await Promise.all(small)).map(({ text }) => text);
    assert.deepStrictEqual(texts, Array.from({ length: 200 }, (_, index) => (index % 2 ? 'slow' : 'hello GET')));
    for (const { body: arrived } of await Promise.all(down)) assert.ok(arrived.equals(body));
    for (const { text } of await Promise.all(up)) assert.strictEqual(JSON.parse(text).sha256, sha256(body));
  },

  // The last: the end has another session after it.
  async 'a session that is lost breaks what goes on, and the next one works'(t, { base, cut, end, get, heard }) {
    for (const times of [2, 3]) {
      const [going, uploading] = [unique(), unique()];
      const { response } = await download(`${base}/endless?name=${going}`);
      await once(response, 'data');
      const upload = await begin(`${base}/swallow?name=${uploading}`, { method: 'POST' });
      upload.write(pattern(300_000));
      await heard(`${uploading}-begun`);
      const [broken, failed] = [drained(response), once(upload, 'response')];
      await end.lose(cut);
      assert.ok(!(await broken).isWhole, 'it looks complete');
      assert.ok((await failed)[0].statusCode >= 500);
      upload.destroy();
      await end.connected(times);
      assert.deepStrictEqual([await heard(going), await heard(uploading)], ['left', 'left']);
      const { body } = await get(`/bytes?size=${FIVE_MIB}`);
      assert.ok(body.equals(pattern(FIVE_MIB)));
      const { text } = await get('/digest', chunked('POST', body));
      assert.strictEqual(JSON.parse(text).sha256, sha256(body));
    }
  },
};

for (const [name, kind] of Object.entries(ENDS)) {
  test(name, { timeout: 180_000, skip: kind.skip }, async (t) => {
    const tunnel = await open(t, kind);
    for (const [sentence, run] of Object.entries(CASES)) {
      await t.test(sentence, { timeout: 30_000 }, (t) => run(t, tunnel));
    }
  });
}

const stream = { stream: { version: 1 } };

test('what an end emits of an exchange that is over does nothing, and is acked', { timeout: 30_000 }, async (t) => {
  const server = await serve(t);
  const token = await server.token();
  const { url, cut } = await proxy(t, server.port);
  const told = [];
  const end = server.socket(token, { transports: ['websocket'], auth: stream }, url);
  end.onAny((name, ...rest) => told.push([name, ...rest]));
  await event(end, 'ready');
  assert.strictEqual(told[0][0], 'ready', 'it comes first');
  const { stream: version, chunk, window, ws, maxPayload } = told[0][1];
  assert.deepStrictEqual([version, chunk, window, ws], [1, 65_536, 262_144, 'messages']);
  assert.ok(maxPayload > chunk);

  const request = await begin(`${server.url}/go/${token}/`);
  request.end();
  const [{ id }] = await event(end, 'request');
  request.destroy();
  await event(end, 'abort', (about, code) => about === id && code === 'visitor-gone');
  const late = () => {
    end.emit('response', id, 200, {});
    end.emit('pull', id);
    end.emit('abort', id, 'local-gone');
    const acks = [['data', id, Buffer.alloc(9), 0], ['message', id, 'part', false, 0]].map((args) =>
      new Promise((resolve) => end.emit(...args, (...answer) => resolve(answer))));
    end.emit('end', id, 9);
    end.emit('close', id, 1, 1000, '');
    return Promise.all(acks);
  };
  assert.deepStrictEqual(await late(), [[], []]);
  // The client keeps what is emitted while it has no session.
  const lost = event(end, 'disconnect');
  cut();
  await lost;
  assert.deepStrictEqual(await late(), [[], []]);
  end.on('request', (next, respond) => respond(200, 'whole'));
  assert.strictEqual((await server.visit(token)).text, 'whole');
});
