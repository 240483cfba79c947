// Ends and visitors behind nginx, HAProxy and Caddy, with the samples of deploy/ and without.

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import WebSocket from 'ws';
import { stream } from '../../examples/streaming/node/stream.mjs';
import { behind, checked, HAS_IPV6, PASSING, passing, PROXIES } from './proxies.mjs';
import { connected, event, TRANSPORTS, visit } from './support.mjs';

const require = createRequire(import.meta.url);
const CLIENTS = Object.fromEntries(['socket.io-client-1.4.8', 'socket.io-client-2.5.0', 'socket.io-client'].map((name) => {
  const library = require(name);
  return [`${name.replace(/^socket.io-client-?/, '') || '4.8.4'}`, library.io ?? library];
}));

/** Less than the mebibyte that nginx as it comes lets through, also where a client encodes it twice. */
const LARGE = 'é'.repeat(200_000);
const FIVE_MIB = 5 << 20;
const pattern = (size) => Buffer.alloc(size, Uint8Array.from({ length: 251 }, (_, index) => index));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const chunked = (body) => ({ method: 'POST', body, headers: { 'transfer-encoding': 'chunked' } });

/** Visitors come from another address than the proxies, which the server trusts. */
const VISITOR = { localAddress: '127.0.0.2', family: 4 };
const FORGED = {
  'X-Forwarded-For': '203.0.113.9', Forwarded: 'for=203.0.113.9;proto=gopher;host=evil.example',
  'X-Forwarded-Proto': 'gopher', 'X-Forwarded-Host': 'evil.example',
};

let names = 0;
const unique = () => `name-${names += 1}`;

/** Makes a tunnel through the proxy: its token, its URL for visitors, and `get(path, options)`. */
async function tunnel({ url, tls }) {
  const { text: token, status } = await visit(`${url}/new`, tls);
  assert.strictEqual(status, 200, token);
  const base = `${url}/go/${token}`;
  return { token, base, get: (path, options) => visit(base + path, { ...tls, ...VISITOR, ...options }) };
}

const engineOf = (end) => end.io.engine;

/** What became of the upgrade of an end: `upgrade`, or `upgradeError`. */
function upgraded(end) {
  return new Promise((resolve) => end.io.on('open', () => {
    for (const name of ['upgrade', 'upgradeError']) engineOf(end).on(name, () => resolve(name));
  }));
}

/** Whole answers of an end. */
function answer({ method, url, body, remoteAddress, headers }, respond) {
  const ROUTES = {
    '/hello': () => [200, `hello ${method}`, { 'content-type': 'text/plain' }],
    '/large': () => [200, LARGE],
    '/echo': () => [201, body],
    '/unchanged': () => [304, '', { etag: '"one"' }],
    '/address': () => [200, JSON.stringify({ remoteAddress, headers }), { 'content-type': 'application/json' }],
  };
  respond(...ROUTES[url]());
}

async function isServed({ get }) {
  const hello = await get('/hello');
  assert.deepStrictEqual([hello.status, hello.text, hello.headers['content-type']], [200, 'hello GET', 'text/plain']);
  assert.strictEqual((await get('/large')).text, LARGE);
  const json = JSON.stringify({ text: 'x'.repeat(300_000) });
  for (const encoding of [{}, { 'transfer-encoding': 'chunked' }]) {
    const headers = { 'content-type': 'application/json', ...encoding };
    const echo = await get('/echo', { method: 'POST', body: json, headers });
    assert.deepStrictEqual([echo.status, echo.text], [201, json]);
  }
  const head = await get('/hello', { method: 'HEAD' });
  assert.deepStrictEqual([head.status, head.body.length, head.headers['content-type']], [200, 0, 'text/plain']);
  const unchanged = await get('/unchanged', { headers: { 'if-none-match': '"one"' } });
  assert.deepStrictEqual([unchanged.status, unchanged.text, unchanged.headers.etag], [304, '', '"one"']);
}

async function clients(t, proxy, isPlain) {
  for (const [version, io] of Object.entries(CLIENTS)) {
    for (const [name, options] of Object.entries(TRANSPORTS)) {
      await t.test(`socket.io-client ${version}, ${name}`, async () => {
        const made = await tunnel(proxy);
        const end = proxy.server.socket(made.token, { ...options, ...proxy.tls, autoConnect: false }, proxy.url, io);
        end.on('request', answer);
        const upgrade = name === 'upgrade' && upgraded(end);
        if (isPlain && name === 'websocket') {
          const refused = event(end.io, version === '4.8.4' ? 'error' : 'connect_error');
          end.connect();
          await refused;
          end.disconnect();
          return;
        }
        end.connect();
        await connected(end);
        if (upgrade) assert.strictEqual(await upgrade, isPlain ? 'upgradeError' : 'upgrade');
        assert.strictEqual(engineOf(end).transport.name, isPlain || name === 'polling' ? 'polling' : 'websocket');
        await isServed(made);
        assert.ok(end.connected);
        end.disconnect();
      });
    }
  }
}

async function addresses(t, { server, url, tls, port }, isPlain) {
  const made = await tunnel({ url, tls });
  await server.end(made.token, { ...tls }, answer, url);
  const seen = async (options) => JSON.parse((await made.get('/address', options)).text);
  for (const headers of [{}, FORGED]) {
    const { remoteAddress, headers: got } = await seen({ headers });
    if (isPlain) {
      assert.strictEqual(remoteAddress, '127.0.0.1', 'nobody is trusted, and nothing is said');
      continue;
    }
    assert.strictEqual(remoteAddress, '127.0.0.2');
    assert.match(got['x-forwarded-for'], /^(203\.0\.113\.9, ?)?127\.0\.0\.2, ?127\.0\.0\.1$/);
    assert.deepStrictEqual([got['x-forwarded-proto'], got['x-forwarded-host'], got.host, got.forwarded],
      ['https', `localhost:${port}`, `localhost:${port}`, undefined]);
  }
  if (isPlain || !HAS_IPV6) return;
  const address = '::1', lookup = (_, { all }, done) => (all ? done(null, [{ address, family: 6 }]) : done(null, address, 6));
  assert.strictEqual((await seen({ localAddress: address, family: 6, lookup, headers: FORGED })).remoteAddress, address);
}

/**
 * An end that streams. What it has noted, or was told to go on with, are promises by name. `large` is more than proxies buffer, and
 * less where an end polls: what that takes is the client's time.
 */
async function streaming({ server, url, tls }, transport) {
  const made = await tunnel({ url, tls });
  const end = server.socket(made.token, { ...tls, transports: [transport], auth: { stream: { version: 1, window: 1 << 20 } } }, url);
  const notes = new Map();
  const note = (name) => {
    if (!notes.has(name)) {
      let keep;
      notes.set(name, Object.assign(new Promise((resolve) => { keep = resolve; }), { keep }));
    }
    return notes.get(name);
  };
  const write = async (response, part) => response.write(part) || once(response, 'drain');
  const routes = {
    async '/bytes'(request, response, { size, length }) {
      response.head(200, length ? { 'content-length': size } : {});
      for (let at = 0; at < size; at += 251 * 200) await write(response, pattern(Math.min(251 * 200, size - at)));
      response.end();
    },
    async '/digest'(request, response, { name }) {
      if (name) {
        note(`${name}-begun`).keep();
        await note(name);
      }
      const hash = createHash('sha256');
      for await (const chunk of request.body) hash.update(chunk);
      response.head(200);
      response.end(hash.digest('hex'));
    },
    async '/echo'(request, response) {
      response.head(200);
      for await (const chunk of request.body) await write(response, chunk);
      response.end();
    },
    '/early'(request, response) {
      response.head(403);
      response.end('too early to tell');
    },
    async '/parts'(request, response, { name, type, length }) {
      response.on('close', () => note(`${name}-left`).keep());
      response.head(200, { 'content-type': type, ...(length ? { 'content-length': '10' } : {}) });
      response.write('first');
      await note(name);
      response.end('after');
    },
    async '/silent'(request, response, { name }) {
      response.on('close', () => note(`${name}-left`).keep());
      note(`${name}-begun`).keep();
      await note(name);
    },
    async '/chat'(request, response, { name }) {
      response.on('close', () => note(`${name}-left`).keep());
      response.head(101);
      for await (const message of request.body) await write(response, message);
      response.closing = [4001, 'as you like'];
      response.end();
    },
    '/refuse'(request, response) {
      response.head(403, { 'x-refused': 'yes' });
      response.end('no WebSockets here');
    },
  };
  stream(end, (request, response) => routes[request.url](request, response, Object.fromEntries(new URLSearchParams(request.search))));
  await connected(end);
  return { ...made, tls, note, large: transport === 'polling' ? 1 << 20 : FIVE_MIB };
}

/** Begins a request whose response arrives in parts. */
function begin({ base, tls }, path, options = {}) {
  const { request: ask } = base.startsWith('https:') ? https : http;
  const request = ask(base + path, { agent: false, ...tls, ...VISITOR, ...options });
  request.on('error', () => {});
  return request;
}

const nextOf = async (parts) => String((await parts.next()).value);

/** What streams through proxies that let it, as the samples do. */
const STREAMS = {
  async 'a large response arrives, with and without a length'({ get, large }) {
    for (const [length, header] of [['', undefined], ['&length=1', String(large)]]) {
      const { status, body, headers } = await get(`/bytes?size=${large}${length}`);
      assert.deepStrictEqual([status, headers['content-length'], sha256(body)], [200, header, sha256(pattern(large))]);
    }
  },

  async 'HEAD keeps the head of a long body'({ get }) {
    const { status, body, headers } = await get('/bytes?size=300000&length=1', { method: 'HEAD' });
    assert.deepStrictEqual([status, body.length, headers['content-length']], [200, 0, '300000']);
  },

  async 'uploads arrive whole, with and without a length'({ get, large }) {
    for (const size of [0, 1, 65_537, large]) {
      const body = pattern(size);
      for (const options of [{ method: 'POST', body }, chunked(body)]) {
        const { status, text } = await get('/digest', options);
        assert.deepStrictEqual([status, text], [200, sha256(body)], `${size} ${options.headers ? 'in chunks' : ''}`);
      }
    }
  },

  async 'an upload that waits for its app arrives whole, and others do not wait for it'({ get, note, large }) {
    const name = unique();
    const body = pattern(2 * large);
    const answered = get(`/digest?name=${name}`, { method: 'POST', body });
    await note(`${name}-begun`);
    assert.strictEqual((await get('/digest', chunked(pattern(100_000)))).status, 200);
    note(name).keep();
    assert.strictEqual((await answered).text, sha256(body));
  },

  async 'a body is echoed while it arrives'(tunnel) {
    const request = begin(tunnel, '/echo', { method: 'POST' });
    request.write('one');
    const [response] = await once(request, 'response');
    const parts = response[Symbol.asyncIterator]();
    assert.strictEqual(await nextOf(parts), 'one');
    request.end('two');
    assert.strictEqual(await nextOf(parts), 'two');
    assert.ok((await parts.next()).done && response.complete);
  },

  async 'an upload is answered while it goes on'(tunnel) {
    const request = begin(tunnel, '/early', { method: 'POST' });
    request.write(pattern(300_000));
    const [response] = await once(request, 'response');
    assert.deepStrictEqual([response.statusCode, (await response.toArray()).join('')], [403, 'too early to tell']);
    request.destroy();
  },

  async 'parts of a response arrive as they are sent'(tunnel) {
    for (const query of ['type=text/event-stream', 'type=text/plain', 'type=text/plain&length=1']) {
      const name = unique();
      const request = begin(tunnel, `/parts?name=${name}&${query}`);
      request.end();
      const [response] = await once(request, 'response');
      const parts = response[Symbol.asyncIterator]();
      assert.strictEqual(await nextOf(parts), 'first', query);
      tunnel.note(name).keep();
      assert.strictEqual(await nextOf(parts), 'after');
      assert.ok((await parts.next()).done && response.complete);
    }
  },

  async 'the app hears that a visitor leaves, also while it says nothing'(tunnel) {
    for (const path of ['/silent?', '/parts?type=text/event-stream&', '/parts?type=text/plain&']) {
      const name = unique();
      const request = begin(tunnel, `${path}name=${name}`);
      request.end();
      if (path === '/silent?') {
        await tunnel.note(`${name}-begun`);
      } else {
        const [response] = await once(request, 'response');
        response.on('error', () => {});
        await once(response, 'data');
      }
      request.destroy();
      await tunnel.note(`${name}-left`);
    }
  },

  async 'a WebSocket gets its messages back, is closed with a code, and the app hears of one that vanishes'({ base, tls, note }) {
    const open = async (path) => {
      const socket = new WebSocket(base.replace('http', 'ws') + path, { ...tls, ...VISITOR });
      await once(socket, 'open');
      return socket;
    };
    const socket = await open('/chat?name=first');
    for (const message of ['', 'é€😀', pattern(300 << 10)]) {
      const back = once(socket, 'message');
      socket.send(message);
      assert.deepStrictEqual((await back)[0], Buffer.from(message));
    }
    const closed = once(socket, 'close');
    socket.close(4002, 'enough');
    assert.strictEqual((await closed)[0], 4002);
    const name = unique();
    (await open(`/chat?name=${name}`)).terminate();
    await note(`${name}-left`);
  },

  async 'a WebSocket is refused with a status and a body'({ base, tls }) {
    const socket = new WebSocket(`${base.replace('http', 'ws')}/refuse`, { ...tls, ...VISITOR });
    const [, response] = await once(socket, 'unexpected-response');
    assert.deepStrictEqual([response.statusCode, response.headers['x-refused']], [403, 'yes']);
    assert.strictEqual((await response.toArray()).join(''), 'no WebSockets here');
  },

  async 'a visitor over HTTP/2 uploads, downloads, and gets events as they are sent'(tunnel) {
    const { base, tls, note, large } = tunnel;
    const { origin, pathname } = new URL(base);
    const session = http2.connect(origin, { ...tls, ...VISITOR });
    await once(session, 'connect');
    assert.strictEqual(session.alpnProtocol, 'h2');
    const ask = (path, headers = {}) => session.request({ ':path': pathname + path, ...headers });
    const body = pattern(large);
    const upload = ask('/digest', { ':method': 'POST' });
    upload.end(body);
    assert.strictEqual((await upload.toArray()).join(''), sha256(body));
    const name = unique();
    const events = ask(`/parts?name=${name}&type=text/event-stream`);
    const parts = events[Symbol.asyncIterator]();
    assert.strictEqual(await nextOf(parts), 'first');
    const download = ask(`/bytes?size=${large}`);
    assert.strictEqual(sha256(Buffer.concat(await download.toArray())), sha256(body));
    note(name).keep();
    assert.strictEqual(await nextOf(parts), 'after');
    assert.ok((await parts.next()).done);
    const leaving = unique();
    const left = ask(`/parts?name=${leaving}&type=text/event-stream`);
    left.once('data', () => left.close(http2.constants.NGHTTP2_CANCEL));
    await note(`${leaving}-left`);
    const closed = once(session, 'close');
    session.close();
    await closed;
  },
};

const limit = { timeout: 30_000 };

/** What one proxy alone does. */
const ALONE = {
  'nginx as it comes': {
    async 'more than a mebibyte is refused, and an end that answers so much by polling loses its session and has the next'(proxy) {
      const made = await tunnel(proxy);
      const end = await proxy.server.end(made.token, { transports: ['polling'] }, ({ url, ...rest }, respond) => {
        if (url === '/too-large') respond(200, 'x'.repeat(2 << 20));
        else answer({ url, ...rest }, respond);
      }, proxy.url);
      assert.strictEqual((await made.get('/hello', { method: 'POST', body: pattern(2 << 20) })).status, 413);
      const again = once(end, 'disconnect').then(() => once(end, 'connect'));
      const lost = await made.get('/too-large');
      assert.strictEqual(lost.headers['x-socket2me-error'], 'client-disconnected');
      await again;
      assert.strictEqual((await made.get('/hello')).text, 'hello GET');
    },
  },

  HAProxy: {
    async 'it finds that the server is ready'({ folder }) {
      assert.deepStrictEqual(await checked(folder), { status: 'UP', check: 'L7OK', code: '200' });
    },

    async 'a WebSocket over HTTP/2, as browsers open it, gets its messages back'(proxy) {
      const { base } = await streaming(proxy, 'websocket');
      const { origin, pathname } = new URL(base);
      const session = http2.connect(origin, { ...proxy.tls, ...VISITOR });
      const [settings] = await once(session, 'remoteSettings');
      assert.ok(settings.enableConnectProtocol);
      const socket = session.request({
        ':method': 'CONNECT', ':protocol': 'websocket', ':path': `${pathname}/chat`, 'sec-websocket-version': '13',
      });
      const [headers] = await once(socket, 'response');
      assert.strictEqual(headers[':status'], 200);
      // The text `hi`, masked with zeros.
      socket.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
      assert.deepStrictEqual((await once(socket, 'data'))[0], Buffer.from([0x81, 2, 0x68, 0x69]));
      session.destroy();
    },
  },
};

for (const [name, kind] of Object.entries(PROXIES)) {
  test(`behind ${name}`, { timeout: 180_000, skip: kind.skip }, async (t) => {
    const proxy = await behind(t, kind);
    await clients(t, proxy, kind.isPlain);
    await t.test('the app is told whose a request is, whatever the visitor says', limit, (t) => addresses(t, proxy, kind.isPlain));
    for (const [sentence, run] of Object.entries(ALONE[name] ?? {})) await t.test(sentence, limit, () => run(proxy));
    if (kind.isPlain) return;
    for (const transport of ['websocket', 'polling']) {
      const made = await streaming(proxy, transport);
      for (const [sentence, run] of Object.entries(STREAMS)) await t.test(`${sentence}, by ${transport}`, limit, () => run(made));
    }
  });
}

for (const [name, kind] of Object.entries(PASSING)) {
  for (const isTls of [false, true]) {
    test(`behind ${name}${isTls ? ', with TLS at the server' : ''}`, { timeout: 60_000, skip: kind.skip }, async (t) => {
      const proxy = await passing(t, kind, isTls);
      for (const [transport, options] of Object.entries(TRANSPORTS)) {
        const made = await tunnel(proxy);
        const end = await proxy.server.end(made.token, { ...options, ...proxy.tls }, answer, proxy.url);
        await isServed(made);
        const { remoteAddress, headers } = JSON.parse((await made.get('/address', { headers: FORGED })).text);
        assert.deepStrictEqual([remoteAddress, headers['x-forwarded-for']], ['127.0.0.2', '203.0.113.9, 127.0.0.2'], transport);
        assert.deepStrictEqual([headers['x-forwarded-proto'], headers['x-forwarded-host']],
          [isTls ? 'https' : 'http', `localhost:${proxy.port}`]);
        end.disconnect();
      }
      const made = await streaming(proxy, 'websocket');
      for (const [sentence, run] of Object.entries(STREAMS)) {
        if (isTls || !sentence.includes('HTTP/2')) await t.test(sentence, limit, () => run(made));
      }
      if (name.startsWith('HAProxy')) assert.deepStrictEqual(await checked(proxy.folder), { status: 'UP', check: 'L7OK', code: '200' });
      // The proxy's address must say whose a connection is, and another's is its own.
      const direct = proxy.url.replace(`${proxy.port}`, `${proxy.upstream}`);
      await assert.rejects(visit(`${direct}/healthz`, { ...proxy.tls, localAddress: '127.0.0.1', family: 4 }));
      assert.strictEqual((await visit(`${direct}/healthz`, { ...proxy.tls, ...VISITOR })).status, 200);
    });
  }
}
