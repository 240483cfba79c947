// What a cluster consists of beside its nodes: a Redis, TCP proxies that can fail, and balancers. All of it ends with its test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './free-port.mjs';
import { visit } from './support.mjs';

const HOST = '127.0.0.1';
const tools = (name) => fileURLToPath(new URL(`../../target/tools/${name}`, import.meta.url));

/** Where scripts/proxies has unpacked Debian's packages, if they were not installed. */
const UNPACKED = process.env.SOCKET2ME_PROXIES ?? tools('proxies');
const FOLDERS = [join(UNPACKED, 'usr/sbin'), ...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin'];

/** The programs that are not ours. */
const HAPROXY = FOLDERS.map((folder) => join(folder, 'haproxy')).find(existsSync);
const REDIS = [process.env.SOCKET2ME_REDIS, tools('redis/redis-server')].find((path) => path && existsSync(path));

/** Why no cluster can be started, or `false`. */
export const MISSING = (!REDIS && 'redis-server is missing: run scripts/redis') || (!HAPROXY && 'haproxy is missing: run scripts/proxies');

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A process has ended that should run: there is nothing to wait for. */
export class Ended extends Error {
  constructor(log) {
    super(`it has ended: ${log.slice(-4000)}`);
  }
}

/** Asks again and again until something is true, and returns it. Throws after `limitMs` with what was waited for. */
export async function until(what, ask, limitMs = 30_000) {
  const begun = performance.now();
  let error;
  while (performance.now() - begun < limitMs) {
    const answer = await Promise.resolve().then(ask).catch((thrown) => { error = thrown; });
    if (error instanceof Ended) break;
    if (answer) return answer;
    await sleep(20);
  }
  throw new Error(`there was no ${what} within ${Math.round(performance.now() - begun)} ms${error ? `: ${error.message}` : ''}`);
}

export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'socket2me-cluster-'));
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** A process that can be killed, stopped, continued and started again. */
export class Process {
  #command;
  #env;
  #child;
  log = '';

  constructor(t, command, env = {}) {
    this.#command = command;
    this.#env = env;
    t.after(() => this.end('SIGKILL'));
  }

  /** Starts it, with `more` in its environment. What it writes is in `log`. */
  start(more = {}) {
    const [program, ...args] = this.#command.map(String);
    const child = spawn(program, args, { env: { ...this.#env, ...more }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const output of [child.stdout, child.stderr]) output.on('data', (text) => { this.log += text; });
    child.on('error', (error) => { this.log += error.message; });
    this.#child = child;
    this.exited = once(child, 'close');
    this.exited.catch(() => {});
  }

  get isRunning() {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Ends it by a signal, and returns its exit code. */
  async end(name) {
    if (!this.isRunning) return this.#child?.exitCode;
    this.signal(name);
    // A process that is stopped takes no other signal.
    if (name === 'SIGKILL') this.signal('SIGCONT');
    const [code] = await this.exited;
    return code;
  }
}

/** A real `redis-server`, at one port for its life. */
export class Redis extends Process {
  static async start(t, { appendonly = false, replicaOf } = {}) {
    const [port, dir] = [await freePort(), folder(t)];
    const command = [REDIS, '--port', port, '--bind', HOST, '--dir', dir, '--save', '', '--appendonly', appendonly ? 'yes' : 'no',
      '--appendfsync', 'always', ...(replicaOf ? ['--replicaof', `${HOST} ${replicaOf.port}`] : [])];
    const redis = new Redis(t, command);
    Object.assign(redis, { port, dir });
    await redis.again();
    return redis;
  }

  /** Starts it again, `isEmpty` without its data. */
  async again({ isEmpty = false } = {}) {
    if (isEmpty) for (const name of readdirSync(this.dir)) rmSync(join(this.dir, name), { recursive: true });
    this.start();
    await until('Redis that answers', async () => await this.ask('PING') === 'PONG');
  }

  /** Sends one command, and returns its reply. */
  async ask(...words) {
    const socket = net.connect(this.port, HOST);
    let text = '';
    try {
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(`${word}`)}\r\n${word}\r\n`).join('')}`);
      for await (const chunk of socket) {
        text += chunk.toString('latin1');
        const reply = parsed(text);
        if (reply) return reply[0];
      }
      throw new Error('Redis has closed the connection');
    } finally {
      socket.destroy();
    }
  }
}

/** Reads a reply of Redis. Returns it with the text behind it, or nothing if it is not whole. */
function parsed(text) {
  const end = text.indexOf('\r\n');
  if (end < 0) return undefined;
  const [kind, value] = [text[0], text.slice(1, end)];
  let rest = text.slice(end + 2);
  if (kind === '-') throw new Error(value);
  if (kind === '+') return [value, rest];
  if (kind === ':') return [Number(value), rest];
  const size = Number(value);
  if (size < 0) return [null, rest];
  if (kind === '$') return rest.length < size + 2 ? undefined : [rest.slice(0, size), rest.slice(size + 2)];
  const list = [];
  while (list.length < size) {
    const item = parsed(rest);
    if (!item) return undefined;
    list.push(item[0]);
    [, rest] = item;
  }
  return [list, rest];
}

/**
 * Passes TCP connections on to a port, and fails in the ways of a network. `stops(first)` decides from the first bytes of a
 * connection whether nothing of it goes on: it stays open and silent.
 */
export class TcpProxy {
  #pairs = new Set();
  #isCut = false;
  #isSilent = false;
  #stops = () => false;
  /** How many connections have come. */
  accepted = 0;
  /** The first bytes of a hundred connections that are over. */
  said = [];

  static async start(t, target) {
    const proxy = new TcpProxy();
    proxy.target = target;
    proxy.server = net.createServer((from) => proxy.#accept(from)).listen(0, HOST);
    await once(proxy.server, 'listening');
    proxy.port = proxy.server.address().port;
    t.after(() => {
      proxy.cut();
      proxy.server.close();
    });
    return proxy;
  }

  /** Whose turn it is: a balancer has several targets. */
  next() {
    return this.target;
  }

  #accept(from) {
    this.accepted += 1;
    from.on('error', () => {});
    const target = this.next();
    if (this.#isCut || target === undefined) {
      from.resetAndDestroy();
      return;
    }
    const to = net.connect(target, HOST);
    const pair = { from, to, first: '', target };
    to.on('error', () => {});
    this.#pairs.add(pair);
    const over = () => {
      if (this.#pairs.delete(pair) && this.said.length < 100) this.said.push(pair.first);
      from.destroy();
      to.destroy();
    };
    from.on('close', over);
    to.on('close', over);
    const pass = (one, other) => {
      one.on('data', (bytes) => {
        if (one === from && pair.first.length < 4096) pair.first += bytes.toString('latin1');
        if (!other.write(bytes)) one.pause();
        this.#hush(pair);
      });
      other.on('drain', () => this.#isQuiet(pair) || one.resume());
      one.on('end', () => other.end());
    };
    pass(from, to);
    pass(to, from);
    this.#hush(pair);
  }

  #isQuiet(pair) {
    return this.#isSilent || this.#stops(pair.first);
  }

  #hush(pair) {
    const method = this.#isQuiet(pair) ? 'pause' : 'resume';
    if (method === 'resume' && (pair.from.writableNeedDrain || pair.to.writableNeedDrain)) return;
    pair.from[method]();
    pair.to[method]();
  }

  /** Loses all packets, as a network that is cut: what was sent arrives once it is whole again. */
  silence(stops) {
    this.#isSilent = stops === undefined;
    this.#stops = stops ?? (() => false);
    for (const pair of this.#pairs) this.#hush(pair);
  }

  /** Resets all connections and refuses new ones. */
  cut() {
    this.#isCut = true;
    for (const { from, to } of this.#pairs) [from, to].forEach((socket) => socket.resetAndDestroy());
  }

  /** Resets the connections that there are. */
  shake() {
    this.cut();
    this.#isCut = false;
  }

  mend() {
    this.#isCut = this.#isSilent = false;
    this.#stops = () => false;
    for (const pair of this.#pairs) this.#hush(pair);
  }
}

/** A balancer of connections, in turn, to the nodes that are ready. It asks them every 100 ms, and never looks into a connection. */
export class Balancer extends TcpProxy {
  static async start(t, ports) {
    const balancer = Object.assign(await TcpProxy.start(t), { ports, turn: 0, ready: new Set(ports) });
    const ask = (port) => visit(`http://${HOST}:${port}/readyz`, { signal: AbortSignal.timeout(1_000) })
      .then(({ status }) => status === 200, () => false);
    let isOver = false;
    const look = async (port) => {
      while (!isOver) {
        if (await ask(port)) balancer.ready.add(port);
        else balancer.ready.delete(port);
        await sleep(100);
      }
    };
    const looking = ports.map(look);
    t.after(() => {
      isOver = true;
      return Promise.all(looking);
    });
    balancer.next = () => {
      const ready = ports.filter((port) => balancer.ready.has(port));
      balancer.turn += 1;
      return ready[balancer.turn % ready.length];
    };
    return balancer;
  }
}

/** The folders of shared libraries below the folder that packages are unpacked in. */
function libraries() {
  const path = join(UNPACKED, 'usr/lib');
  return existsSync(path) ? readdirSync(path).map((name) => join(path, name)).join(':') : '';
}

/**
 * HAProxy, which gives each request to the next node that is ready: polls of one session, its POSTs and its upgrade go to different
 * ones. Returns the URL, and that of a front that lets no WebSocket through.
 */
export async function haproxy(t, ports) {
  const [port, plain, dir] = [await freePort(), await freePort(), folder(t)];
  const servers = ports.map((port, index) => `    server n${index + 1} ${HOST}:${port} check inter 200ms fall 2 rise 1`);
  writeFileSync(join(dir, 'haproxy.cfg'), `
defaults
    mode http
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    timeout check 1s
    option redispatch 1
    option abortonclose
    retries 3
    option forwardfor
frontend front
    bind ${HOST}:${port}
    default_backend nodes
frontend plain
    bind ${HOST}:${plain}
    http-request deny deny_status 400 if { hdr(Upgrade) -i websocket }
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
${servers.join('\n')}
`);
  const program = new Process(t, [HAPROXY, '-db', '-f', join(dir, 'haproxy.cfg')], { LD_LIBRARY_PATH: libraries() });
  program.start();
  const url = `http://${HOST}:${port}`;
  await until('HAProxy that reaches a node', async () => {
    if (!program.isRunning) throw new Ended(program.log);
    return (await visit(`${url}/healthz`)).status === 200;
  });
  return { url, plain: `http://${HOST}:${plain}` };
}
