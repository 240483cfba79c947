// Visitors at three nodes that faults befall at random: cluster-soak.mjs SECONDS [SEED]. It fails if what always holds does not.

import { counted, Load } from './cluster-load.mjs';
import { Cluster, sleep } from './cluster-nodes.mjs';
import { MISSING } from './cluster-processes.mjs';

const [seconds = 60, seed = Date.now() % 1_000_000] = process.argv.slice(2).map(Number);
if (MISSING) throw new Error(MISSING);
console.log(`seed ${seed}`);

/** How long all may take to be well again. A session whose client is gone without a word ends after 45 s. */
const WELL_MS = 75_000;

/** A sequence that a seed determines. */
let state = seed;
function random(below) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return (state >>> 8) % below;
}

/** What befalls a cluster. Each returns what mends it. `some` is a node. */
const FAULTS = {
  async 'a node is killed'(cluster, some) {
    await some.end('SIGKILL');
    return () => some.ready();
  },
  async 'a node is rolled'(cluster, some) {
    await some.terminate();
    return () => some.ready();
  },
  'a node is stopped'(cluster, some) {
    some.signal('SIGSTOP');
    return () => some.signal('SIGCONT');
  },
  'a node is cut off from Redis'(cluster, some) {
    some.toRedis.silence();
    return () => cluster.mend();
  },
  'a node is cut off from the others'(cluster, some) {
    cluster.isolate(some);
    return () => cluster.mend();
  },
  'Redis is killed'({ redis }) {
    return redis.end('SIGKILL').then(() => () => redis.again());
  },
  'Redis is killed, and comes back empty'({ redis }) {
    return redis.end('SIGKILL').then(() => () => redis.again({ isEmpty: true }));
  },
  'Redis is stopped'({ redis }) {
    redis.signal('SIGSTOP');
    return () => redis.signal('SIGCONT');
  },
  'all connections are reset'({ nodes, balancer }) {
    [balancer, ...nodes.flatMap(({ toRedis, fromPeers }) => [toRedis, fromPeers])].forEach((proxy) => proxy.shake());
    return () => {};
  },
};

const afters = [];
const t = { after: (ended) => afters.unshift(ended) };
try {
  const cluster = await Cluster.start(t, { appendonly: true });
  const load = await Load.start(t, cluster, { size: 2 });
  const urls = cluster.nodes.map(({ url }) => url);
  const begun = performance.now();
  const left = () => seconds * 1_000 - (performance.now() - begun);
  for (let number = 0; number === 0 || left() > 10_000; number += 1) {
    const name = Object.keys(FAULTS)[random(Object.keys(FAULTS).length)];
    const some = cluster.nodes[random(cluster.nodes.length)];
    const lastsMs = Math.min(500 + random(9_500), Math.max(left() / 2, 500));
    const mend = await FAULTS[name](cluster, some);
    await sleep(lastsMs);
    await mend();
    const well = await load.well(urls, WELL_MS);
    console.log(`${Math.round((performance.now() - begun) / 1_000)} s: ${name} (${some.name}) for ${Math.round(lastsMs)} ms, well after ${well} ms`);
    load.checkSoFar();
    await sleep(random(2_000));
  }
  await load.stop();
  load.check();
  await counted(cluster.nodes);
  await cluster.stop();
  console.log(`${load.begun} requests, ${load.answered} answered, ${load.repeated.may} repeated that may be; slowest ${load.slowest.took} ms`);
  for (const [kind, tally] of Object.entries(load.failures)) console.log(`${kind}: ${tally}`);
} catch (error) {
  console.error(`DOES NOT HOLD (seed ${seed}):`, error);
  process.exitCode = 1;
} finally {
  for (const ended of afters) await ended();
}
