// Load on a cluster, and what became of each request of it. Ends count what reaches them, by the id that a visitor gives its request.

import assert from 'node:assert';
import http from 'node:http';
import { io } from 'socket.io-client';
import { sleep, until } from './cluster-processes.mjs';
import { connected, TRANSPORTS } from './support.mjs';

/** How long a visitor waits in all: longer than the relay lets anybody wait here. */
const PATIENCE_MS = 75_000;
/** How long a visitor waits when it is asked whether all is well. */
const WELL_MS = 2_000;

/** The kinds of tunnels. `mayRepeat` tells which requests may reach an end more than once. */
const KINDS = {
  keyed: { fields: { hold: 10 }, ends: 1 },
  idempotent: { fields: { hold: 10, repeat: 'idempotent' }, ends: 1, mayRepeat: (method) => method !== 'POST' },
  spread: { fields: { hold: 10, ends: 'spread' }, ends: 3 },
  original: { ends: 1 },
};

const random = (below) => Math.floor(Math.random() * below);

/** Counts texts. */
class Tally {
  #counts = new Map();

  add(text) {
    this.#counts.set(text, (this.#counts.get(text) ?? 0) + 1);
  }

  get sum() {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  toString() {
    return [...this.#counts].sort(([one], [other]) => one.localeCompare(other)).map(([text, count]) => `${text} ${count}`).join(', ') || 'none';
  }
}

/** Sends a request, and returns its status, the relay's code and the text: all of it, or what went wrong. */
function ask(url, { body, ...options }, limitMs) {
  return new Promise((resolve) => {
    const failed = (error) => resolve({ failure: error.name === 'AbortError' || error.name === 'TimeoutError' ? 'no answer' : 'connection lost' });
    const request = http.request(url, { agent: false, signal: AbortSignal.timeout(limitMs), ...options }, (response) => {
      let text = '';
      response.on('data', (chunk) => { text += chunk; });
      response.on('error', failed);
      response.on('end', () => resolve({ status: response.statusCode, code: response.headers['x-socket2me-error'], text }));
    });
    request.on('error', failed);
    request.end(body);
  });
}

/** Tunnels with their ends, and visitors of them that come through all balancers until the load is over. */
export class Load {
  #cluster;
  #tunnels = [];
  #visitors = [];
  #isOver = false;
  /** How often each request has reached an end, by its id. */
  #emitted = new Map();
  /** What visitors have asked for, by id. */
  #asked = new Map();
  begun = 0;
  answered = 0;
  wrong = [];
  slowest = { took: 0 };
  /** Failures by kind of tunnel. */
  failures = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, new Tally()]));
  /** What ends were told in place of being let in. */
  refused = new Tally();
  /** How often ends have lost their session. */
  lost = new Tally();

  /** Makes `size` tunnels of each kind, and lets `visitors` come to each. */
  static async start(t, cluster, { size = 3, visitors = 2 } = {}) {
    const load = new Load();
    load.#cluster = cluster;
    const fronts = Object.values(cluster.fronts);
    for (const [kind, { fields, ends }] of Object.entries(KINDS)) {
      for (let number = 0; number < size; number += 1) {
        const tunnel = { kind, name: `${kind}-${number}`, ...await cluster.tunnel(fields) };
        for (let count = 0; count < ends; count += 1) {
          const transport = Object.values(TRANSPORTS)[(number + count) % 3];
          await load.#end(t, tunnel, fronts[(number + count) % fronts.length], transport);
        }
        load.#tunnels.push(tunnel);
      }
    }
    await load.well(cluster.nodes.map(({ url }) => url), 20_000);
    for (const tunnel of load.#tunnels) {
      for (let count = 0; count < visitors; count += 1) load.#visitors.push(load.#visit(tunnel, fronts[count % fronts.length]));
    }
    t.after(() => { load.#isOver = true; });
    return load;
  }

  async #end(t, tunnel, url, options) {
    const end = io(`${url}/${tunnel.token}`, {
      forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 500, autoConnect: false, timeout: 5_000,
      ...options, ...(tunnel.key ? { auth: { key: tunnel.key } } : {}),
    });
    t.after(() => end.disconnect());
    end.on('request', (request, respond) => this.#answer(tunnel, request, respond));
    const comeBack = () => setTimeout(() => this.#isOver || end.connect(), 200);
    end.on('connect_error', ({ message }) => {
      // Whoever is not let in does not come back by itself.
      if (end.active) return;
      this.refused.add(message);
      comeBack();
    });
    let isIn = false;
    end.on('connect', () => { isIn = true; });
    end.on('disconnect', (reason) => {
      // The client says so of a session, too, in which it was never let in.
      if (isIn) this.lost.add(reason);
      isIn = false;
      if (reason === 'io server disconnect') comeBack();
    });
    end.connect();
    await connected(end);
  }

  async #answer(tunnel, { url, body }, respond) {
    const [, path, id] = url.split('/');
    if (path === 'well') {
      respond(200, `${tunnel.name} well`);
      return;
    }
    this.#emitted.set(id, (this.#emitted.get(id) ?? 0) + 1);
    await sleep(random(10) === 0 ? 1_000 : random(80));
    respond(200, `${tunnel.name} ${id} ${typeof body === 'string' ? body : ''}`);
  }

  async #visit(tunnel, front) {
    while (!this.#isOver) {
      const [id, method] = [`${this.begun += 1}`, random(2) ? 'GET' : 'POST'];
      this.#asked.set(id, { kind: tunnel.kind, method });
      const body = method === 'POST' ? `body of ${id}`.repeat(1 + random(2_000)) : '';
      const headers = { 'content-type': 'text/plain' };
      const asked = performance.now();
      const { status, code, text, failure } = await ask(`${front}/go/${tunnel.token}/x/${id}`, { method, headers, body }, PATIENCE_MS);
      const took = Math.round(performance.now() - asked);
      if (took > this.slowest.took) this.slowest = { took, what: `${tunnel.name} ${id}: ${failure ?? code ?? status}, ${this.#emitted.get(id) ?? 0} emitted` };
      if (status === 200 && code === undefined) {
        this.answered += 1;
        if (text !== `${tunnel.name} ${id} ${body}`) this.wrong.push(`${tunnel.name} ${id}: ${text.slice(0, 100)}`);
      } else {
        this.failures[tunnel.kind].add(failure ?? code ?? `balancer's ${status}`);
      }
      await sleep(20 + random(60));
    }
  }

  /** Waits until each tunnel answers at each of these URLs, all in one round. Returns how long that took, in milliseconds. */
  async well(urls, limitMs) {
    const begun = performance.now();
    let ill = [];
    const all = this.#tunnels.flatMap((tunnel) => urls.map((url) => [tunnel, url]));
    await until('cluster that is well', async () => {
      const answers = await Promise.all(all.map(([{ token, name }, url]) =>
        ask(`${url}/go/${token}/well`, {}, WELL_MS).then(({ text, failure }) => (text === `${name} well` ? [] : [`${name} at ${url}: ${failure ?? text}`]))));
      ill = answers.flat();
      return ill.length === 0;
    }, limitMs).catch((error) => { throw new Error(`${error.message}: ${ill.slice(0, 5).join('; ')}`); });
    return Math.round(performance.now() - begun);
  }

  /** Lets no more visitors come, and waits for those that are there. */
  async stop() {
    this.#isOver = true;
    await Promise.all(this.#visitors);
  }

  /** Requests that have reached an end more than once: those that may, and those that may not. */
  get repeated() {
    const found = [...this.#emitted].filter(([, count]) => count > 1).map(([id]) => this.#asked.get(id));
    const may = found.filter(({ kind, method }) => KINDS[kind].mayRepeat?.(method));
    return { may: may.length, mayNot: found.length - may.length };
  }

  /** Checks what holds once the load has stopped. */
  check() {
    const failed = Object.values(this.failures).reduce((sum, tally) => sum + tally.sum, 0);
    assert.strictEqual(this.begun, this.answered + failed, 'a request has no outcome, or two');
    this.checkSoFar();
  }

  /** Checks what holds at any time. */
  checkSoFar() {
    assert.deepStrictEqual(this.wrong, [], 'an answer is not that of its request');
    assert.strictEqual(this.repeated.mayNot, 0, 'a request reached an end twice');
    assert.strictEqual(`${this.refused}`, 'none', 'an end was refused');
  }
}

/** Waits until each exchange that a node has begun since its start has ended. */
export async function counted(nodes) {
  for (const node of nodes) {
    let shown;
    await until(`node ${node.name} whose exchanges are over`, async () => {
      const figures = Object.entries(await node.figures('socket2me_exchanges_'));
      const sum = (name) => figures.filter(([key]) => key.startsWith(name)).reduce((sum, [, value]) => sum + value, 0);
      shown = { begun: sum('socket2me_exchanges_begun_total'), ended: sum('socket2me_exchanges_total') };
      return shown.begun === shown.ended;
    }, 20_000).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(shown)}`); });
  }
}
