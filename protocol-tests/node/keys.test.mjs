// Keyed tunnels with official clients: who may join, who is thrown out, and what the owner changes meanwhile.

import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { event, serve, visit } from './support.mjs';

const require = createRequire(import.meta.url);
const limit = { timeout: 20_000 };
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const CLIENTS = Object.entries({
  '1.4.8': 'socket.io-client-1.4.8',
  '2.5.0': 'socket.io-client-2.5.0',
  '3.1.3': 'socket.io-client-3.1.3',
  '4.8.4': 'socket.io-client',
}).flatMap(([version, name]) => Object.entries(TRANSPORTS).map(([transport, transports]) => {
  const library = require(name);
  return { name: `${version} ${transport}`, io: library.io ?? library, isOld: Number(version[0]) < 3, transports };
}));

const REFUSALS = {
  'key-required': 'this tunnel has a key: ',
  'key-wrong': "this is not the tunnel's key: ",
  'token-not-found': 'token not found: ',
};

/** Returns a key that its owner makes: 43 digits, of which hexadecimal ones are as good as any for a test. */
const newKey = () => `s2m_${randomBytes(22).toString('hex').slice(1)}`;

/** Sends a request of the API with a key, if there is one, and a body, if there is one. Returns status, code and JSON. */
async function call(server, method, path, key, body) {
  const headers = { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) };
  const json = body && JSON.stringify(body);
  const answer = await visit(`${server.url}${path}`, { method, headers, body: json });
  return { status: answer.status, code: answer.headers['x-socket2me-error'], ...(answer.text && JSON.parse(answer.text)) };
}

async function make(server, fields = {}) {
  const made = await call(server, 'POST', '/new', undefined, fields);
  assert.strictEqual(made.status, 201);
  return made;
}

/** Creates an end that shows a key, if there is one, as its client can, without waiting for its connect. */
function end(server, { token }, key, { isOld, transports }) {
  const query = isOld && key ? `?key=${key}` : '';
  return server.socket(token + query, { transports, ...(!isOld && key && { auth: { key } }) });
}

async function joined(server, tunnel, key, client, answer = 'here') {
  const socket = end(server, tunnel, key, client);
  socket.on('request', (request, respond) => respond(200, answer));
  await event(socket, 'connect');
  return socket;
}

/** Waits until an end is refused for this reason. */
async function isRefused(socket, code, { isOld }) {
  const connected = event(socket, 'connect').then(() => assert.fail('the end has joined'));
  const [refusal] = await Promise.race([event(socket, isOld ? 'error' : 'connect_error'), connected]);
  const words = REFUSALS[code];
  if (isOld) return assert.ok(refusal.startsWith(`${code}: ${words}`), refusal);
  assert.ok(refusal.message.startsWith(words), refusal.message);
  assert.deepStrictEqual(refusal.data, { code });
}

/** Waits until the server has made an end leave. */
const isThrownOut = async (socket) => assert.deepStrictEqual((await event(socket, 'disconnect'))[0], 'io server disconnect');

const seen = async (server, { token }) => {
  const { status, text, headers } = await server.visit(token, '/');
  return [status, headers['x-socket2me-error'] ?? text];
};

const CASES = {
  async 'an end joins with the key of its tunnel, and is refused without one and with another'(server, client) {
    const [mine, others] = [await make(server), await make(server, { name: 'others' })];
    await isRefused(end(server, mine, undefined, client), 'key-required', client);
    await isRefused(end(server, mine, others.key, client), 'key-wrong', client);
    await isRefused(end(server, mine, 's2m_short', client), 'key-wrong', client);
    await isRefused(end(server, { token: 'nobody' }, mine.key, client), 'token-not-found', client);
    assert.deepStrictEqual(await seen(server, mine), [502, 'client-not-connected']);
    await joined(server, mine, mine.key, client);
    assert.deepStrictEqual(await seen(server, mine), [200, 'here']);
    assert.strictEqual((await call(server, 'GET', `/tunnel/${mine.token}`, mine.key)).connected, true);
  },

  async 'its owner takes a tunnel over, and nobody else does'(server, client) {
    const [mine, others] = [await make(server, { name: 'mine' }), await make(server)];
    const first = await joined(server, mine, mine.key, client, 'first');
    await isRefused(end(server, mine, others.key, client), 'key-wrong', client);
    assert.deepStrictEqual(await seen(server, mine), [200, 'first']);
    const left = isThrownOut(first);
    await joined(server, mine, mine.key, client, 'second');
    await left;
    assert.deepStrictEqual(await seen(server, mine), [200, 'second']);
  },

  async 'another key throws the thief out, who cannot come back'(server, client) {
    const mine = await make(server, { name: 'mine' });
    const thief = await joined(server, mine, mine.key, client, 'stolen');
    const [left, key] = [isThrownOut(thief), newKey()];
    const rekeyed = await call(server, 'POST', '/tunnel/mine/key', mine.key, { key });
    assert.deepStrictEqual(rekeyed, { status: 204, code: undefined });
    await left;
    thief.connect();
    await isRefused(thief, 'key-wrong', client);
    const own = await joined(server, mine, key, client);
    assert.deepStrictEqual(await seen(server, mine), [200, 'here']);
    // The answer was lost, so the owner asks again. Their own end is not what has to go.
    assert.strictEqual((await call(server, 'POST', '/tunnel/mine/key', mine.key, { key })).status, 204);
    assert.deepStrictEqual(await seen(server, mine), [200, 'here']);
    assert.strictEqual(own.connected, true);
  },

  async 'another key with disconnect: false leaves the end where it is'(server, client) {
    const mine = await make(server);
    const [socket, key] = [await joined(server, mine, mine.key, client), newKey()];
    const rekeyed = await call(server, 'POST', `/tunnel/${mine.token}/key`, mine.key, { key, disconnect: false });
    assert.strictEqual(rekeyed.status, 204);
    assert.deepStrictEqual(await seen(server, mine), [200, 'here']);
    await isRefused(end(server, mine, mine.key, client), 'key-wrong', client);
    assert.strictEqual(socket.connected, true);
    const left = isThrownOut(socket);
    await joined(server, mine, key, client, 'with the new key');
    await left;
    assert.deepStrictEqual(await seen(server, mine), [200, 'with the new key']);
  },

  async 'a timeout that its owner sets counts for the next request'(server, client) {
    const mine = await make(server, { timeout: 600 });
    const silent = end(server, mine, mine.key, client);
    await event(silent, 'connect');
    assert.strictEqual((await call(server, 'PATCH', `/tunnel/${mine.token}`, mine.key, { timeout: 1 })).timeout, 1);
    assert.deepStrictEqual(await seen(server, mine), [504, 'client-timed-out']);
  },

  async 'a tunnel that is deleted has no end, and its name comes back with the key alone'(server, client) {
    const mine = await make(server, { name: 'mine' });
    const socket = await joined(server, mine, mine.key, client);
    const left = isThrownOut(socket);
    assert.strictEqual((await call(server, 'DELETE', '/tunnel/mine', mine.key)).status, 204);
    await left;
    assert.deepStrictEqual(await seen(server, mine), [404, 'token-not-found']);
    await isRefused(end(server, mine, mine.key, client), 'token-not-found', client);
    for (const key of [undefined, newKey()]) {
      const { status, code } = await call(server, 'POST', '/new', key, { name: 'mine' });
      assert.deepStrictEqual([status, code], [409, 'name-taken']);
    }
    const again = await call(server, 'POST', '/new', mine.key, { name: 'mine' });
    assert.deepStrictEqual([again.status, again.key, again.url], [201, mine.key, mine.url]);
    await joined(server, again, again.key, client);
    assert.deepStrictEqual(await seen(server, mine), [200, 'here']);
  },
};

for (const client of CLIENTS) {
  for (const [name, run] of Object.entries(CASES)) {
    test(`${client.name}: ${name}`, limit, async (t) => {
      await run(await serve(t, [], { client: client.io }), client);
    });
  }
}
