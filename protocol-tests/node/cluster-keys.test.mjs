// What a cluster leaves in Redis: after many joins, leaves and deaths of nodes nothing is there that was not there before.

import assert from 'node:assert';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import WebSocket from 'ws';
import { Cluster, until } from './cluster-nodes.mjs';
import { MISSING } from './cluster-processes.mjs';
import { visit } from './support.mjs';

const JOINS = 1_000;
/** Ends that come and go at a time. */
const AT_ONCE = 20;
const KINDS = [undefined, { hold: 10 }, { ends: 'spread' }];

/** An end without a client at a node. `joined` and `over` are promises. */
function join({ listen }, { token, key }) {
  const socket = new WebSocket(`ws://127.0.0.1:${listen}/socket.io/?EIO=4&transport=websocket`);
  socket.on('error', () => {});
  socket.on('open', () => socket.send(`40/${token},${key ? JSON.stringify({ key }) : ''}`));
  const over = new Promise((resolve) => socket.on('close', (code) => resolve(code)));
  const joined = new Promise((resolve, reject) => {
    socket.on('message', (data) => {
      const text = `${data}`;
      if (text.startsWith('40')) resolve();
      if (text.startsWith('44')) reject(new Error(`the end is refused: ${text}`));
    });
    over.then((code) => reject(new Error(`the session has ended: ${code}`)));
  });
  joined.catch(() => {});
  return { socket, joined, over };
}

/** An end that joins and leaves, with a word or without. */
async function passBy(node, tunnel, isPolite) {
  const { socket, joined, over } = join(node, tunnel);
  try {
    await joined;
    if (isPolite) socket.send(`41/${tunnel.token},`);
  } finally {
    if (isPolite) socket.close();
    else socket.terminate();
    await over;
  }
}

/** All keys with what is in them: the fields of hashes, without the values, which change. */
async function contents(redis) {
  const keys = (await redis.ask('KEYS', '*')).sort();
  return Object.fromEntries(await Promise.all(keys.map(async (key) => {
    const [type, ttl] = await Promise.all([redis.ask('TYPE', key), redis.ask('PTTL', key)]);
    const fields = type === 'hash' ? (await redis.ask('HKEYS', key)).sort() : [];
    return [key, { type, expires: ttl > 0, ttl, fields }];
  })));
}

/** The same without nodes that are gone, whose keys must expire, and without the number of the last message for a node. */
function lasting(found, { nodes }) {
  const alive = nodes.map(({ id }) => id);
  return Object.fromEntries(Object.entries(found).flatMap(([key, { type, expires, ttl, fields }]) => {
    const [, kind, id] = /^s2m:(node|inbox):(.{8})$/.exec(key) ?? [];
    if (!kind) return [[key, { type, expires, fields }]];
    assert.ok(ttl > 0 && ttl <= (kind === 'inbox' ? 60_000 : 610_000), `${key} expires in ${ttl} ms`);
    return alive.includes(id) && kind === 'node' ? [[`s2m:node:${alive.indexOf(id)}`, { type, fields: fields.filter((name) => name !== 'posted') }]] : [];
  }));
}

test('after a thousand joins and leaves, and deaths of nodes, Redis has the keys that it had', { timeout: 180_000, skip: MISSING }, async (t) => {
  const cluster = await Cluster.start(t);
  const { nodes, redis } = cluster;
  const tunnels = [];
  for (let number = 0; number < AT_ONCE; number += 1) tunnels.push(await cluster.tunnel(KINDS[number % KINDS.length]));
  const passOnce = () => Promise.all(tunnels.map((tunnel, number) => passBy(nodes[number % nodes.length], tunnel, true)));
  /** Waits until no node has an end, and Redis knows it. */
  const rested = () => until('rest', async () => {
    const ends = await Promise.all(nodes.map((node) => node.figures('socket2me_connected_ends')));
    const fields = Object.values(await contents(redis)).flatMap(({ fields }) => fields);
    return ends.every((figures) => figures.socket2me_connected_ends === 0) && !fields.some((name) => name.startsWith('at:'));
  });
  await passOnce();
  await rested();
  const before = lasting(await contents(redis), cluster);

  for (let round = 0; round < 3; round += 1) {
    const comeAndGo = tunnels.map(async (tunnel, number) => {
      for (let count = Math.ceil(JOINS / 3 / tunnels.length); count > 0; count -= 1) {
        await passBy(nodes[(number + count) % nodes.length], tunnel, count % 2 === 0);
      }
    });
    await Promise.all(comeAndGo);
    // With ends that stay.
    const staying = tunnels.map((tunnel) => join(nodes[round], tunnel));
    await Promise.all(staying.map(({ joined }) => joined));
    await nodes[round].end('SIGKILL');
    await Promise.all(staying.map(({ over }) => over));
    await nodes[round].ready();
  }
  await cluster.areAllThere();
  await passOnce();
  await rested();
  await until('baseline', async () => {
    const now = lasting(await contents(redis), cluster);
    const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])];
    const changed = keys.filter((key) => !isDeepStrictEqual(now[key], before[key]));
    assert.deepStrictEqual(changed.map((key) => [key, now[key]]), changed.map((key) => [key, before[key]]));
    return true;
  }, 20_000);
  assert.strictEqual(await redis.ask('ZCARD', 's2m:nodes'), nodes.length);

  for (const { token, key } of tunnels.filter(({ key }) => key)) {
    const { status } = await visit(`${nodes[0].url}/tunnel/${token}`, { method: 'DELETE', headers: { authorization: `Bearer ${key}` } });
    assert.ok(status < 300, `${status}`);
  }
  await cluster.stop();
  const after = Object.entries(await contents(redis));
  // Of nodes that have stopped nothing stays for ever.
  for (const [key, { ttl, type }] of after) assert.ok(ttl > 0 || ['s2m:marker', 's2m:nodes:state'].includes(key), `${key}, a ${type}, is there for ever`);
});
