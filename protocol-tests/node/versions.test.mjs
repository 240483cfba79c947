// The same cases for every official client, over every transport: the server hides the differences between versions.

import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { proxy } from './proxy.mjs';
import { connected, event, serve, visit } from './support.mjs';

const require = createRequire(import.meta.url);
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const CLIENTS = Object.entries({
  '1.4.8': 'socket.io-client-1.4.8',
  '1.7.4': 'socket.io-client-1.7.4',
  '2.0.4': 'socket.io-client-2.0.4',
  '2.5.0': 'socket.io-client-2.5.0',
  '3.1.3': 'socket.io-client-3.1.3',
  '4.0.2': 'socket.io-client-4.0.2',
  '4.8.4': 'socket.io-client',
}).flatMap(([version, name]) => {
  const library = require(name);
  const major = Number(version[0]);
  return Object.entries(TRANSPORTS).map(([transport, transports]) => ({
    name: `${version} ${transport}`,
    io: library.io ?? library,
    major,
    isOld: major < 3,
    upgrades: transport === 'upgrade',
    transport: transports.at(-1),
    options: { transports },
  }));
});

/** How each major version asks for raw bodies: what follows the token, and the options of `io`. */
const RAW_BODY = {
  1: [['?body=raw', {}]],
  2: [['?body=raw', {}], ['', { query: 'body=raw' }], ['', { query: { body: 'raw' } }]],
  3: [['', { auth: { body: 'raw' } }]],
  4: [['', { auth: { body: 'raw' } }]],
};

/** Texts for keys, values and queries. The first is what the second looks like when it is encoded twice. */
const TEXTS = [
  'Ã©',
  'é',
  '€',
  '日本',
  '😀',
  'a\u2028b\u2029c',
  '\0\x01\b\t\n\f\r\x1e\x1f"\\\x7f\x80\x9f\xa0\xff',
  '\u0800\uffff\u{10000}\u{10ffff}',
];
/** Node reads each byte of a header as one character. */
const HEADER = 'é Ã© \xa0\xff!';
const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const WEBSOCKET = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
};
const ONE_MIB = 1 << 20;

const limit = { timeout: 20_000 };
const MULTIPLEXED = { forceNew: false };
// A session without heartbeats ends after 1.2 s; this many of them take 1.6 s.
const QUICK_HEARTBEAT = ['--ping-interval', '200ms', '--ping-timeout', '1s'];
const HEARTBEATS = 8;

// A Buffer, because Node would write a string together with the headers, both as UTF-8.
const post = (type, body, headers) =>
  ({ method: 'POST', headers: { 'Content-Type': type, ...headers }, body: Buffer.from(body) });
const json = (value, headers) => post('application/json', JSON.stringify(value), headers);
const textOf = async (answer) => (await answer).text;
const answering = (...answer) => (request, respond) => respond(...answer);
const seeing = (seen, ...answer) => ({ body }, respond) => {
  seen.push(body);
  respond(...answer);
};

const start = (t, { io }, flags = [], env = {}) => serve(t, flags, { env, client: io });

/** Connects an end, and waits until it is on the client's transport. */
async function join(server, token, client, handler, { via, ...options } = {}) {
  const end = await server.end(token, { ...client.options, ...options }, handler, via);
  await settled(end, client);
  return end;
}

async function settled({ io: { engine } }, { upgrades, transport }) {
  if (upgrades && engine.transport.name === 'polling') await event(engine, 'upgrade');
  assert.strictEqual(engine.transport.name, transport);
}

/** Waits for `HEARTBEATS`. Revision 3 pings from the client, revision 4 from the server. */
function heartbeats({ io: { engine } }) {
  let left = HEARTBEATS;
  return event(engine, 'packet', ({ type }) => {
    if (type === 'ping' || type === 'pong') left -= 1;
    return left === 0;
  });
}

/** Answers the visits of `exchangeTexts` from `TEXTS`, so that a fault in one direction cannot hide one in the other. */
const answeringTexts = (seen) => ({ url, body, query, headers }, respond) => {
  const text = TEXTS[Number(url.slice(1))];
  seen.push([text, body, query, headers['x-text']]);
  respond(200, body === text ? text : { [text]: [text] }, { 'X-Text': HEADER });
};

/** Sends every text at once, so that one polling body holds many of them. */
async function exchangeTexts(server, token, seen) {
  const header = { 'X-Text': HEADER };
  const answers = await Promise.all(TEXTS.flatMap((text, index) => {
    const path = `/${index}?${encodeURIComponent(text)}=${encodeURIComponent(text)}`;
    return [
      server.visit(token, path, json({ [text]: [text] }, header)),
      server.visit(token, path, post('text/plain; charset=utf-8', text, header)),
    ];
  }));
  assert.deepStrictEqual(
    answers.map(({ text, headers }) => [text, headers['x-text']]),
    TEXTS.flatMap((text) => [JSON.stringify({ [text]: [text] }), text]).map((text) => [text, HEADER]),
  );
  const arrived = seen.splice(0);
  assert.strictEqual(arrived.length, answers.length);
  for (const [text, body, query, header] of arrived) {
    const expected = body === text ? text : { [text]: [text] };
    assert.deepStrictEqual([body, query, header], [expected, { [text]: text }, HEADER]);
  }
}

const answeringBytes = (seen, bytes) => ({ body, headers }, respond) => {
  seen.push([body, headers['x-text']]);
  respond(200, bytes, { 'X-Text': HEADER });
};

async function exchangeBytes(server, token, seen, there, back) {
  const request = post('application/octet-stream', there, { 'X-Text': HEADER });
  const { body, headers } = await server.visit(token, '', request);
  assert.deepStrictEqual([body.equals(back), headers['x-text']], [true, HEADER]);
  assert.deepStrictEqual(seen.splice(0).map(([body, header]) => [there.equals(body), header]), [[true, HEADER]]);
}

const CASES = {
  async 'a request and its ack arrive'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const seen = [];
    await join(server, token, client, ({ method, url, query, body }, respond) => {
      seen.push({ method, url, query, body });
      respond(201, 'made', { 'X-Made-By': 'test' });
    });
    const { status, text, headers } = await server.visit(token, '/a/b?c=d', json([1]));
    assert.deepStrictEqual(seen, [{ method: 'POST', url: '/a/b', query: { c: 'd' }, body: [1] }]);
    assert.deepStrictEqual([status, text, headers['x-made-by']], [201, 'made', 'test']);
  },

  async 'bytes arrive unchanged both ways'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const seen = [];
    const back = Buffer.from(ALL_BYTES).reverse();
    await join(server, token, client, answeringBytes(seen, back));
    await exchangeBytes(server, token, seen, ALL_BYTES, back);
  },

  async 'text arrives unchanged both ways'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const seen = [];
    await join(server, token, client, answeringTexts(seen));
    await exchangeTexts(server, token, seen);
  },

  async 'lone surrogates arrive unchanged in JSON, and as U+FFFD in text'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const seen = [];
    await join(server, token, client, ({ url, body }, respond) => {
      seen.push(body);
      respond(200, url === '/text' ? 'a\ud800b' : { '\udc00': '\ud800' });
    });
    const body = { '\udfff': 'é\ud800' };
    assert.strictEqual(String(json(body).body), '{"\\udfff":"é\\ud800"}');
    const text = await server.visit(token, '/text', json(body));
    assert.deepStrictEqual(text.body, Buffer.from('a\ufffdb'));
    const value = await server.visit(token, '/json', json(body));
    assert.deepStrictEqual(JSON.parse(value.text), { '\udc00': '\ud800' });
    assert.deepStrictEqual(seen, [body, body]);
  },

  async '1 MiB of bytes arrives unchanged each way'(t, client) {
    const server = await start(t, client, ['--response-timeout', '60s']);
    const token = await server.token();
    const seen = [];
    const [there, back] = [randomBytes(ONE_MIB), randomBytes(ONE_MIB)];
    const { io: { engine } } = await join(server, token, client, answeringBytes(seen, back));
    await exchangeBytes(server, token, seen, there, back);
    assert.strictEqual(engine.readyState, 'open');
  },

  async '1 MiB of text arrives unchanged each way'(t, client) {
    const server = await start(t, client, ['--response-timeout', '60s']);
    const token = await server.token();
    const seen = [];
    // Characters of one, two and four bytes, so that a cut inside a character would show.
    const [there, back] = ['aé😀\n', '𝄞"x\\Ã'].map((text) => text.repeat(ONE_MIB / 8));
    const { io: { engine } } = await join(server, token, client, seeing(seen, 200, back));
    const answer = await server.visit(token, '', post('text/plain; charset=utf-8', there));
    assert.deepStrictEqual([answer.status, answer.text === back], [200, true]);
    assert.deepStrictEqual(seen.map((body) => body === there), [true]);
    assert.strictEqual(engine.readyState, 'open');
  },

  async 'an unknown token is refused, and the connection serves others'(t, client) {
    const server = await start(t, client);
    const tokens = [await server.token(), await server.token()];
    const refused = async (token) => {
      const end = server.socket(token, { ...client.options, ...MULTIPLEXED });
      const [error] = await event(end, client.isOld ? 'error' : 'connect_error');
      assert.ok(client.isOld ? typeof error === 'string' : error instanceof Error, `${error}`);
      assert.match(client.isOld ? error : error.message, /token not found/);
      return end.io.engine;
    };
    const lonely = await refused('unknown');
    const { io: { engine } } = await join(server, tokens[0], client, answering(200, 'first'), MULTIPLEXED);
    // Newer clients close a connection that no namespace uses, and open another.
    if (client.isOld) assert.strictEqual(engine, lonely);
    assert.strictEqual(await refused('unknown-too'), engine);
    const later = await join(server, tokens[1], client, answering(200, 'second'), MULTIPLEXED);
    assert.strictEqual(later.io.engine, engine);
    const texts = tokens.map((token) => textOf(server.visit(token)));
    assert.deepStrictEqual(await Promise.all(texts), ['first', 'second']);
  },

  async 'one Manager serves two tokens'(t, client) {
    const server = await start(t, client);
    const tokens = [await server.token(), await server.token()];
    const ends = tokens.map((token) => server.socket(token, { ...client.options, ...MULTIPLEXED }));
    ends.forEach((end, index) => end.on('request', answering(200, `end ${index}`)));
    await Promise.all(ends.map(connected));
    assert.strictEqual(ends[0].io.engine, ends[1].io.engine);
    await settled(ends[0], client);
    const texts = [0, 1, 1, 0].map((index) => textOf(server.visit(tokens[index])));
    assert.deepStrictEqual(await Promise.all(texts), ['end 0', 'end 1', 'end 1', 'end 0']);
  },

  async 'an end whose connection is cut reconnects by itself'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const { url, cut } = await proxy(t, server.port);
    const end = await join(server, token, client, answering(200, 'here'), { via: url });
    // After this visit the proxy holds the connection of the next poll.
    assert.strictEqual(await textOf(server.visit(token)), 'here');
    const { id } = end.io.engine;
    const [gone, back] = [event(end, 'disconnect'), event(end, 'connect')];
    cut();
    assert.match((await gone)[0], /^transport (close|error)$/);
    await back;
    await settled(end, client);
    assert.notStrictEqual(end.io.engine.id, id);
    assert.strictEqual(await textOf(server.visit(token)), 'here');
  },

  async 'each way to ask for raw bodies works'(t, client) {
    const server = await start(t, client);
    for (const [query, options] of RAW_BODY[client.major]) {
      const token = await server.token();
      const seen = [];
      await join(server, token + query, client, seeing(seen, 200, Buffer.alloc(0)), options);
      const answers = [
        await server.visit(token, '', post('application/json', ' {"a" : 1}')),
        await server.visit(token),
      ];
      assert.deepStrictEqual(seen, [Buffer.from(' {"a" : 1}'), Buffer.alloc(0)], JSON.stringify([query, options]));
      assert.deepStrictEqual(answers.map(({ status, text }) => [status, text]), [[200, ''], [200, '']]);
    }
  },

  async 'no name of the visitors is taken for the place of an attachment'(t, client) {
    const server = await start(t, client);
    const token = await server.token();
    const seen = [];
    await join(server, token, client, (request, respond) => {
      seen.push([request.query, request.headers['x-a'], request.body]);
      respond(200, 'seen');
    });
    const bytes = Buffer.from([0, 1, 0xff]);
    const visit = (query, headers) => {
      const { method, body, headers: type } = post('application/octet-stream', bytes);
      return server.visit(token, query, { method, body, headers: { ...type, ...headers } });
    };
    const refused = await visit('', { _placeholder: '1', num: '0' });
    assert.deepStrictEqual([refused.status, refused.headers['x-socket2me-error'], seen], [400, 'forbidden-header', []]);
    assert.strictEqual(await textOf(visit('?_placeholder=1&num=0&y[_placeholder]=true', { 'X-A': 'b' })), 'seen');
    assert.deepStrictEqual(seen, [[{ num: '0', y: {} }, 'b', bytes]]);
  },

  async '--engine-io 4 refuses clients of Engine.IO 3'(t, client) {
    const server = await start(t, client, ['--engine-io', '4']);
    const token = await server.token();
    if (client.isOld) {
      await event(server.socket(token, { ...client.options, reconnection: false }), 'connect_error');
      const [transport] = client.options.transports;
      const headers = transport === 'websocket' ? WEBSOCKET : {};
      const refusal = await visit(`${server.url}/socket.io/?EIO=3&transport=${transport}`, { headers });
      assert.deepStrictEqual([refusal.status, JSON.parse(refusal.text).code], [400, 5]);
    } else {
      await join(server, token, client, answering(200, 'newer'));
      assert.strictEqual(await textOf(server.visit(token)), 'newer');
    }
  },
};

/** Not for socket.io-client 1, whose query belongs to the whole connection. */
const OPTIONS_OF_A_NAMESPACE_CASES = {
  async 'the options of one namespace are not those of another'(t, client) {
    const server = await start(t, client);
    const raw = RAW_BODY[client.major].at(-1)[1];
    const received = [];
    for (const options of [{}, raw]) {
      const token = await server.token();
      const seen = [];
      await join(server, token, client, seeing(seen, 200), { ...options, ...MULTIPLEXED });
      received.push([token, seen]);
    }
    for (const [token] of received) await server.visit(token, '', json([1]));
    assert.deepStrictEqual(received.map(([, seen]) => seen), [[[1]], [Buffer.from('[1]')]]);
  },
};

const UPGRADE_CASES = {
  async 'text and bytes arrive unchanged before and after the upgrade'(t, client) {
    const server = await start(t, client);
    const [texts, bytes] = [await server.token(), await server.token()];
    let open;
    const { url } = await proxy(t, server.port, { gate: new Promise((resolve) => { open = resolve; }) });
    const [seenTexts, seenBytes] = [[], []];
    const shared = { ...client.options, ...MULTIPLEXED };
    const end = await server.end(texts, shared, answeringTexts(seenTexts), url);
    await server.end(bytes, shared, answeringBytes(seenBytes, ALL_BYTES), url);
    // Both at once, so that bytes and text share a polling body.
    const exchange = () => Promise.all([
      exchangeTexts(server, texts, seenTexts),
      exchangeBytes(server, bytes, seenBytes, ALL_BYTES, ALL_BYTES),
    ]);
    await exchange();
    assert.strictEqual(end.io.engine.transport.name, 'polling');
    open();
    await settled(end, client);
    await exchange();
  },
};

/** Cases that wait for the clock; they run apart from those that keep this process busy. */
const TIMED_CASES = {
  async 'a quick heartbeat keeps an end connected'(t, client) {
    const server = await start(t, client, QUICK_HEARTBEAT);
    const token = await server.token();
    const end = await join(server, token, client, answering(200, 'alive'));
    const { id } = end.io.engine;
    await heartbeats(end);
    assert.deepStrictEqual([await textOf(server.visit(token)), end.connected, end.io.engine.id], ['alive', true, id]);
  },

  async 'an end whose token expires is disconnected, and does not reconnect'(t, client) {
    const server = await start(t, client, ['--token-grace', '0'], { TOKEN_EXPIRE_SECONDS: '1' });
    const end = await join(server, await server.token(), client);
    const attempts = [];
    end.io.on('reconnect_attempt', (attempt) => attempts.push(attempt));
    assert.strictEqual((await event(end, 'disconnect'))[0], 'io server disconnect');
    // A reconnect would come long before the next token expires.
    const next = await join(server, await server.token(), client);
    await event(next, 'disconnect');
    assert.deepStrictEqual([end.connected, attempts], [false, []]);
  },
};

const TIMED_OLD_CASES = {
  async 'an end that joins only / stays connected'(t, client) {
    const server = await start(t, client, [...QUICK_HEARTBEAT, '--connect-timeout', '300ms']);
    const end = await join(server, '', client);
    const { id } = end.io.engine;
    await heartbeats(end);
    assert.deepStrictEqual([end.connected, end.io.engine.id], [true, id]);
  },
};

function tell(cases, accept = () => true) {
  for (const client of CLIENTS.filter(accept)) {
    for (const [title, run] of Object.entries(cases)) test(`${client.name}: ${title}`, limit, (t) => run(t, client));
  }
}

describe('every client', { concurrency: 3 }, () => {
  tell(CASES);
  tell(OPTIONS_OF_A_NAMESPACE_CASES, ({ major }) => major > 1);
  tell(UPGRADE_CASES, ({ upgrades }) => upgrades);
});

describe('every client over time', { concurrency: 8 }, () => {
  tell(TIMED_CASES);
  tell(TIMED_OLD_CASES, ({ isOld }) => isOld);
});
