// Nodes of one cluster, each a process of its own, over one Redis.

import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Balancer, Ended, folder, haproxy, Process, Redis, sleep, TcpProxy, until } from './cluster-processes.mjs';
import { freePort } from './free-port.mjs';
import { binary, visit } from './support.mjs';

const HOST = '127.0.0.1';
/** The secret of all clusters of these tests. */
export const SECRET = 'the secret of all clusters of these tests';
/** A key, or a token of the form that the server makes. */
const SECRETS = /s2m_[0-9A-Za-z]{43}|\b[0-9A-Za-z]{48}\b/;

/** A folder for the logs of all nodes, to look into what went wrong. */
const LOGS = process.env.SOCKET2ME_CLUSTER_LOGS;

/** A node. Its Redis is behind `toRedis`, and other nodes reach it through `fromPeers`: proxies that can fail. */
class Node extends Process {
  static async make(t, name, { redis, secret, dir, flags }) {
    const [listen, hop, metrics] = [await freePort(), await freePort(), await freePort()];
    const [toRedis, fromPeers] = [await TcpProxy.start(t, redis.port), await TcpProxy.start(t, hop)];
    const admin = join(dir, name);
    const node = new Node(t, [
      binary(), '--log', LOGS ? 'debug' : 'info', '--log-format', 'json', 'serve', '--listen', `${HOST}:${listen}`,
      '--store', `redis://${HOST}:${toRedis.port}`,
      '--cluster-listen', `${HOST}:${hop}`, '--advertise', `http://${HOST}:${fromPeers.port}`, '--cluster-secret-file', secret,
      '--node-id', name, '--metrics-listen', `${HOST}:${metrics}`, '--admin', `unix:${admin}`, '--throttle-interval-ms', '0', ...flags,
    ]);
    if (LOGS) t.after(() => writeFileSync(join(LOGS, `${name}.log`), node.log));
    return Object.assign(node, { name, listen, hop, metrics, admin, toRedis, fromPeers, url: `http://${HOST}:${listen}` });
  }

  /** Starts it, and waits until it takes visitors. */
  async ready(env) {
    rmSync(this.admin, { force: true });
    this.start(env);
    await until(`node ${this.name} that is ready`, () => this.isReady());
  }

  async isReady() {
    if (!this.isRunning) throw new Ended(this.log);
    return (await visit(`${this.url}/readyz`, { signal: AbortSignal.timeout(2_000) })).status === 200;
  }

  /** The random id that it has since it was started. */
  get id() {
    const line = this.log.split('\n').findLast((line) => line.includes('is a node of a cluster'));
    return JSON.parse(line).fields.node;
  }

  /** Returns the figures whose names begin so, by name and labels, as in `socket2me_hops_total{outcome="answered"}`. */
  async figures(prefix = 'socket2me_') {
    const { text } = await visit(`http://${HOST}:${this.metrics}/metrics`, { signal: AbortSignal.timeout(5_000) });
    const lines = text.split('\n').filter((line) => line.startsWith(prefix)).map((line) => /^(\S+) (\S+)/.exec(line));
    return Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
  }

  /** What `socket2me cluster status` prints. */
  async status() {
    const args = ['cluster', '--admin', `unix:${this.admin}`, '--json', 'status'];
    const { stdout } = await promisify(execFile)(binary(), args, { env: {} });
    return JSON.parse(stdout);
  }

  /** Stops it by SIGTERM. Returns how long that took, in milliseconds. */
  async terminate() {
    const begun = performance.now();
    const code = await this.end('SIGTERM');
    if (code !== 0) throw new Error(`after SIGTERM node ${this.name} ended with ${code}:\n${this.log.slice(-4000)}`);
    this.check();
    return performance.now() - begun;
  }

  /** Looks through the log for what no log may have. */
  check() {
    const found = SECRETS.exec(this.log) ?? /panicked|stack overflow/.exec(this.log);
    if (found) throw new Error(`in the log of node ${this.name}: ${this.log.slice(Math.max(0, found.index - 300), found.index + 300)}`);
  }
}

export class Cluster {
  #t;
  #options;

  /** Starts nodes over a new Redis, HAProxy and a balancer of our own in front of them. */
  static async start(t, { count = 3, flags = [], secret = SECRET, ...redisOptions } = {}) {
    const cluster = new Cluster();
    cluster.#t = t;
    cluster.redis = await Redis.start(t, redisOptions);
    const dir = folder(t);
    const file = join(dir, 'secret');
    writeFileSync(file, secret);
    cluster.#options = { redis: cluster.redis, secret: file, dir, flags };
    cluster.nodes = [];
    for (let number = 1; number <= count; number += 1) cluster.nodes.push(await Node.make(t, `n${number}`, cluster.#options));
    await Promise.all(cluster.nodes.map((node) => node.ready()));
    await cluster.areAllThere();
    const ports = cluster.nodes.map(({ listen }) => listen);
    cluster.haproxy = await haproxy(t, ports);
    cluster.balancer = await Balancer.start(t, ports);
    cluster.fronts = { haproxy: cluster.haproxy.url, balancer: `http://${HOST}:${cluster.balancer.port}` };
    return cluster;
  }

  /** Waits until each node that runs has a lease and knows all others. */
  async areAllThere(limitMs = 30_000) {
    const running = this.nodes.filter((node) => node.isRunning);
    await until('cluster that is whole', async () => {
      const all = await Promise.all(running.map((node) => node.figures('socket2me_cluster_')));
      return all.every((figures) => figures.socket2me_cluster_peers === running.length - 1 && figures.socket2me_cluster_lease === 1);
    }, limitMs);
  }

  /** Cuts a node off from all others, in both directions. */
  isolate(node) {
    for (const other of this.nodes) {
      if (other === node) other.fromPeers.silence();
      else other.fromPeers.silence((first) => !first.includes('\nto: ') || first.includes(`\nfrom: ${node.id}\n`));
    }
  }

  /** Mends all proxies. */
  mend() {
    for (const { toRedis, fromPeers } of this.nodes) {
      toRedis.mend();
      fromPeers.mend();
    }
  }

  /** Makes a tunnel. `fields` are those of a keyed one; without them it is an original one. */
  async tunnel(fields, via = this.fronts.haproxy) {
    return until('tunnel', async () => {
      if (!fields) {
        const { status, text } = await visit(`${via}/new`);
        return status === 200 && { token: text };
      }
      const { status, text } = await visit(`${via}/new`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(fields) });
      if (status !== 201) throw new Error(`${status} ${text}`);
      return JSON.parse(text);
    });
  }

  /** Asks all nodes that run to stop, and looks through their logs. */
  async stop() {
    await Promise.all(this.nodes.filter((node) => node.isRunning).map((node) => node.terminate()));
  }
}

export { sleep, until };
