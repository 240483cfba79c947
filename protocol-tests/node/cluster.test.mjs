// Three nodes, each a process, behind balancers that know nothing of sessions: ends and visitors come to any of them.

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import WebSocket from 'ws';
import { app, digestOf, ENDS, forward, write } from './cluster-ends.mjs';
import { Cluster, until } from './cluster-nodes.mjs';
import { MISSING, TcpProxy } from './cluster-processes.mjs';
import { connected, inbox, TRANSPORTS, visit } from './support.mjs';

const require = createRequire(import.meta.url);

const isWhole = process.env.SOCKET2ME_CLUSTER === 'whole';
const SIZE = isWhole ? 1 << 30 : 32 << 20;
const limit = { timeout: isWhole ? 600_000 : 120_000, skip: MISSING };
const TEXT = 'größer ≠ 日本語 '.repeat(5_000);

/** Where visitors come: to any node, and to the balancers. */
const doors = ({ nodes, fronts }) => [...nodes.map(({ url }) => url), ...Object.values(fronts)];

/** The sum of a figure over all nodes. */
async function sum({ nodes }, name) {
  const all = await Promise.all(nodes.map((node) => node.figures(name)));
  assert.ok(all.every((figures) => Object.keys(figures).length > 0), `no figure ${name}`);
  return all.flatMap(Object.values).reduce((sum, value) => sum + value, 0);
}

test('an end of any client joins through any balancer, and visitors reach it at any node', limit, async (t) => {
  const cluster = await Cluster.start(t);
  for (const [front, via] of Object.entries(cluster.fronts)) {
    for (const [name, { skip, start }] of Object.entries(ENDS)) {
      for (const transport of Object.keys(TRANSPORTS)) {
        await t.test(`${name}, ${transport}, ${front}`, { timeout: 20_000, skip }, async (t) => {
          const { token } = await cluster.tunnel(undefined, via);
          const end = await start(t, via, token, transport);
          for (const url of doors(cluster)) {
            const hello = await visit(`${url}/go/${token}/hello`);
            assert.deepStrictEqual([hello.status, hello.text], [200, 'GET /hello'], url);
            const headers = { 'content-type': 'text/plain; charset=utf-8' };
            const echo = await visit(`${url}/go/${token}/echo`, { method: 'POST', body: TEXT, headers });
            assert.deepStrictEqual([echo.status, echo.text === TEXT], [200, true], `${url}: ${echo.text.slice(0, 200)}`);
          }
          assert.strictEqual(end.transport(), transport === 'polling' ? 'polling' : 'websocket');
        });
      }
    }
  }
  assert.ok(await sum(cluster, 'socket2me_hops_total{outcome="answered"}') > 0, 'no request went from node to node');
  await cluster.stop();
});

test('streams go through any node: large bodies, events and WebSockets', limit, async (t) => {
  const cluster = await Cluster.start(t);
  const served = await app(t);
  const ways = { haproxy: cluster.haproxy.url, 'haproxy, without WebSockets': cluster.haproxy.plain, balancer: cluster.fronts.balancer };
  for (const [way, via] of Object.entries(ways)) {
    const { path } = await forward(t, via, served.port);
    const isSlow = via === cluster.haproxy.plain;
    const [size, digest] = isSlow ? [2 << 20, digestOf(2 << 20)] : [SIZE, digestOf(SIZE)];
    const at = isWhole && !isSlow ? cluster.nodes.map(({ url }) => url) : doors(cluster);
    for (const url of at) {
      await t.test(`forward by ${way}, visitors at ${url}`, async () => {
        const base = `${url}${path}`;
        assert.strictEqual((await visit(`${base}/hello`)).text, 'hello GET');
        assert.strictEqual(await downloaded(`${base}/bytes?size=${size}`), digest);
        assert.strictEqual(await uploaded(`${base}/digest`, size), digest);
        await listens(base, served);
        await chats(base);
      });
    }
  }
  await until('listeners that have left', () => served.listeners.size === 0);
  assert.ok(await sum(cluster, 'socket2me_hops_total{outcome="answered"}') > 0, 'no request went from node to node');
  await cluster.stop();
});

test('forward takes visitors at another node while its answers at a node that stops go on', limit, async (t) => {
  const cluster = await Cluster.start(t, { flags: ['--drain-timeout', '8s'] });
  const served = await app(t);
  const { path, end } = await forward(t, cluster.fronts.balancer, served.port);
  const request = http.get(`${cluster.nodes[0].url}${path}/events`, { agent: false });
  const [response] = await once(request, 'response');
  let text = '';
  response.on('data', (chunk) => { text += chunk; });
  const owner = await until('node with the end', async () => {
    const ends = await Promise.all(cluster.nodes.map(async (node) => Object.values(await node.figures('socket2me_connected_ends'))[0]));
    return cluster.nodes[ends.findIndex((count) => count === 1)];
  });
  const other = cluster.nodes.find((node) => node !== owner);
  const stopping = owner.terminate();
  await until('end at another node', () => end.log.includes('reconnected'), 10_000);
  const begun = performance.now();
  assert.strictEqual((await visit(`${other.url}${path}/hello`)).text, 'hello GET');
  assert.ok(performance.now() - begun < 2_000, 'the visitor has waited');
  assert.ok(owner.isRunning, 'the node has waited for the answer');
  served.emit('later');
  await until('event of the answer that goes on', () => text.includes('data: later\n\n'));
  request.destroy();
  response.on('error', () => {});
  await stopping;
  await cluster.stop();
});

for (const name of ['socket.io-client-1.4.8', 'socket.io-client-2.5.0', 'socket.io-client']) {
  test(`${name}: an answer that comes late, at another node, is no answer to somebody else`, limit, async (t) => {
    const cluster = await Cluster.start(t, { count: 2, flags: ['--drain-timeout', '1s'] });
    const [one, other] = cluster.nodes;
    const way = await TcpProxy.start(t, one.listen);
    const { token } = await cluster.tunnel();
    const library = require(name);
    const options = { forceNew: true, transports: ['websocket'], reconnectionDelay: 20, reconnectionDelayMax: 50 };
    const end = (library.io ?? library)(`http://127.0.0.1:${way.port}/${token}`, options);
    t.after(() => end.disconnect());
    const requests = inbox(end);
    await connected(end);
    const first = visit(`${one.url}/go/${token}/first`);
    const { respond } = await requests.next();
    way.target = other.listen;
    const again = once(end, 'connect');
    way.shake();
    assert.strictEqual((await first).headers['x-socket2me-error'], 'client-disconnected');
    await again;
    const second = visit(`${one.url}/go/${token}/second`);
    const { respond: respondToSecond } = await requests.next();
    // The client sends it in the session that it has now.
    respond(200, 'the answer to the first');
    respondToSecond(200, 'the answer to the second');
    assert.strictEqual((await second).text, 'the answer to the second');
    end.disconnect();
    // A node that has an end takes its time to stop.
    await until('end that has left', async () => await sum(cluster, 'socket2me_connected_ends') === 0);
    await cluster.stop();
  });
}

/** Returns the hash of a response's body. */
async function downloaded(url) {
  const [response] = await once(http.get(url, { agent: false }), 'response');
  assert.strictEqual(response.statusCode, 200);
  const hash = createHash('sha256');
  for await (const chunk of response) hash.update(chunk);
  return hash.digest('hex');
}

/** Sends a body whose length is not announced, and returns the answer. */
async function uploaded(url, size) {
  const request = http.request(url, { method: 'POST', agent: false });
  const answered = once(request, 'response');
  const [[response]] = await Promise.all([answered, write(request, size)]);
  const text = (await response.toArray()).join('');
  assert.strictEqual(response.statusCode, 200, text);
  return text;
}

async function listens(base, { emit }) {
  const request = http.get(`${base}/events`, { agent: false });
  const [response] = await once(request, 'response');
  let text = '';
  response.on('data', (chunk) => { text += chunk; });
  await until('first event', () => text.includes('data: first\n\n'));
  emit('second');
  await until('second event', () => text.includes('data: second\n\n'));
  response.on('error', () => {});
  request.destroy();
}

async function chats(base) {
  const socket = new WebSocket(base.replace('http:', 'ws:'));
  await once(socket, 'open');
  for (const sent of ['text ≠', Buffer.alloc(100_000, 7)]) {
    socket.send(sent);
    const [got] = await once(socket, 'message');
    assert.deepStrictEqual(got, Buffer.from(sent));
  }
  socket.close(1000);
  const [code] = await once(socket, 'close');
  assert.strictEqual(code, 1000);
}
