// What befalls a cluster. Each fault begins and ends while visitors come, and has a row in a table.

import assert from 'node:assert';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import WebSocket from 'ws';
import { app, forward } from './cluster-ends.mjs';
import { Cluster, sleep } from './cluster-nodes.mjs';
import { counted, Load } from './cluster-load.mjs';
import { folder, Redis, TcpProxy } from './cluster-processes.mjs';

/** The library that fakes a process's clock, where scripts/cluster has unpacked it. */
const FAKETIME = process.env.SOCKET2ME_FAKETIME;

const HOUR_S = 3_600;
const all = ({ nodes }) => nodes.map(({ toRedis }) => toRedis);

/**
 * The faults. `begin` and `end` make and mend one; between them pass `lastsMs`.
 * `isWithout` are the kinds of tunnels that no visitor fails at.
 */
export const FAULTS = {
  'nothing': {
    lastsMs: 3_000,
    begin() {},
    end() {},
    isWithout: ['keyed', 'idempotent', 'spread', 'original'],
  },

  'a node is killed, and started again': {
    lastsMs: 10_000,
    begin: ({ nodes }) => nodes[0].end('SIGKILL'),
    end: ({ nodes }) => nodes[0].ready(),
  },

  'a node is stopped for 30 s, and continued': {
    lastsMs: 30_000,
    prepare: ({ nodes: [node, other] }, t) => longAnswers(t, node.url, other.url),
    begin: ({ nodes }) => nodes[0].signal('SIGSTOP'),
    end({ nodes }, long) {
      assert.deepStrictEqual(long, { events: 'over', socket: 'over' }, 'what has begun stands still with the node');
      nodes[0].signal('SIGCONT');
    },
  },

  'a node is cut off from Redis for 20 s': {
    lastsMs: 20_000,
    begin: ({ nodes }) => nodes[0].toRedis.silence(),
    end: (cluster) => cluster.mend(),
  },

  'a node is cut off from the others for 20 s': {
    lastsMs: 20_000,
    begin: (cluster) => cluster.isolate(cluster.nodes[0]),
    end: (cluster) => cluster.mend(),
  },

  'a node is cut off from Redis and the others for 20 s': {
    lastsMs: 20_000,
    begin(cluster) {
      cluster.nodes[0].toRedis.silence();
      cluster.isolate(cluster.nodes[0]);
    },
    end: (cluster) => cluster.mend(),
  },

  'the clock of a node steps on by an hour, and back': {
    skip: !(FAKETIME && existsSync(FAKETIME)) && 'libfaketime is missing: scripts/cluster unpacks it',
    lastsMs: 10_000,
    async prepare({ nodes }, t) {
      const file = join(folder(t), 'faketime');
      writeFileSync(file, '+0s');
      await nodes[0].terminate();
      await nodes[0].ready({ LD_PRELOAD: FAKETIME, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', DONT_FAKE_MONOTONIC: '1' });
      return file;
    },
    begin: (_, file) => writeFileSync(file, `+${HOUR_S}s`),
    end({ nodes }, file) {
      writeFileSync(file, '+0s');
      const times = nodes[0].log.match(/(?<="timestamp":")[^"]+/g).map((time) => Date.parse(time) - Date.now());
      assert.ok(times.some((ahead) => ahead > HOUR_S * 900), 'the clock has not been stepped');
    },
    isWithout: ['keyed', 'idempotent', 'spread', 'original'],
  },

  'all nodes are rolled one by one': {
    lastsMs: 0,
    async begin(cluster) {
      for (const node of cluster.nodes) {
        await node.terminate();
        await node.ready();
        await cluster.areAllThere();
      }
    },
    end() {},
    isWithout: ['keyed', 'idempotent', 'spread'],
  },

  'Redis is killed, and started again with its data': {
    // Longer than leases last.
    lastsMs: 9_000,
    redis: { appendonly: true },
    keepsEnds: true,
    begin: ({ redis }) => redis.end('SIGKILL'),
    end: ({ redis }) => redis.again(),
  },

  'Redis is killed, and started again empty': {
    lastsMs: 5_000,
    begin: ({ redis }) => redis.end('SIGKILL'),
    end: ({ redis }) => redis.again({ isEmpty: true }),
    keepsEnds: true,
  },

  'Redis is restarted empty at once': {
    lastsMs: 0,
    async begin({ redis }) {
      await redis.end('SIGKILL');
      await redis.again({ isEmpty: true });
    },
    end() {},
  },

  'Redis stops for 15 s, and goes on': {
    lastsMs: 15_000,
    begin: ({ redis }) => redis.signal('SIGSTOP'),
    end: ({ redis }) => redis.signal('SIGCONT'),
    keepsEnds: true,
  },

  'a replica is promoted that lacks the last 1.5 s': {
    lastsMs: 1_500,
    async prepare({ redis }, t) {
      const link = await TcpProxy.start(t, redis.port);
      const replica = await Redis.start(t, { replicaOf: link });
      while (!`${await replica.ask('INFO', 'replication')}`.includes('master_link_status:up')) await sleep(50);
      return { link, replica };
    },
    begin: (_, { link }) => link.silence(),
    async end(cluster, { replica }) {
      await cluster.redis.end('SIGKILL');
      await replica.ask('REPLICAOF', 'NO', 'ONE');
      for (const proxy of all(cluster)) {
        proxy.target = replica.port;
        proxy.shake();
      }
    },
  },

  'all connections are reset': {
    lastsMs: 2_000,
    begin({ nodes, balancer }) {
      [balancer, ...nodes.flatMap(({ toRedis, fromPeers }) => [toRedis, fromPeers])].forEach((proxy) => proxy.shake());
    },
    end() {},
  },
};

/** Begins an event stream and a WebSocket at one node to an end of another. Tells of each whether it is open or over. */
async function longAnswers(t, endUrl, visitorUrl) {
  const { port } = await app(t);
  const { path } = await forward(t, endUrl, port);
  const long = { events: 'open', socket: 'open' };
  const request = http.get(`${visitorUrl}${path}/events`, { agent: false });
  const [response] = await once(request, 'response');
  response.on('error', () => {});
  response.on('close', () => { long.events = 'over'; });
  response.resume();
  const socket = new WebSocket(`${visitorUrl}${path}`.replace('http:', 'ws:'));
  await once(socket, 'open');
  socket.on('error', () => {});
  socket.on('close', () => { long.socket = 'over'; });
  t.after(() => {
    request.destroy();
    socket.terminate();
  });
  return long;
}

/** How long visitors come before and after a fault, and how long all may take to be well again, in milliseconds. */
const [BEFORE_MS, AFTER_MS] = [2_000, 2_000];
export const WELL_MS = 75_000;

/** Lets a fault befall a cluster under load. `tell` gets its row, also when a check of it fails. */
export async function befall(t, tell, { prepare, begin, end, lastsMs, redis, isWithout = [], keepsEnds = false }) {
  const cluster = await Cluster.start(t, redis);
  const prepared = await prepare?.(cluster, t);
  if (prepared) await cluster.areAllThere();
  const load = await Load.start(t, cluster);
  await sleep(BEFORE_MS);
  const fronts = Object.values(cluster.fronts);
  await begin(cluster, prepared);
  const meanwhile = load.well(fronts, Math.max(lastsMs - 200, 1)).then((ms) => `${ms} ms`, () => 'not before');
  await sleep(lastsMs);
  const during = await meanwhile;
  await end(cluster, prepared);
  const after = await load.well(cluster.nodes.map(({ url }) => url), WELL_MS);
  await sleep(AFTER_MS);
  await load.stop();
  const failures = Object.entries(load.failures).map(([kind, tally]) => `${kind}: ${tally}`).join('; ');
  const { repeated } = load;
  const row = {
    begun: load.begun, answered: load.answered, failures, wrong: load.wrong.length, 'repeated, may not': repeated.mayNot,
    'repeated, may': repeated.may, refused: `${load.refused}`, lost: `${load.lost}`, slowest: `${load.slowest.took} ms, ${load.slowest.what}`, 'well meanwhile': during, 'well after': `${after} ms`,
  };
  tell(row);
  load.check();
  for (const kind of isWithout) assert.strictEqual(`${load.failures[kind]}`, 'none', `visitors of tunnels that are ${kind} failed`);
  // A node that only notices later than the others that Redis is back has lost nothing.
  if (keepsEnds) cluster.nodes.forEach(({ log }) => assert.ok(!log.includes('moving ends to the nodes that have the store'), log));
  await counted(cluster.nodes);
  cluster.nodes.forEach((node) => node.check());
}
