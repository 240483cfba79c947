// Apps that are restarted under load: no request is lost, and none is handled twice that must not be.

import assert from 'node:assert';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve, visit } from './support.mjs';

const APP = fileURLToPath(new URL('app.mjs', import.meta.url));
const limit = { timeout: 60_000 };
/** Between two requests: 200 in a second. */
const PAUSE_MS = 5;
const ENDS = {
  '4.8.4 websocket': ['socket.io-client', 'websocket'],
  '4.8.4 upgrade': ['socket.io-client', 'polling,websocket'],
  '2.5.0 upgrade': ['socket.io-client-2.5.0', 'polling,websocket'],
};
const EVERY_METHOD = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'];

async function make(server, fields) {
  const headers = { 'Content-Type': 'application/json' };
  const answer = await visit(`${server.url}/new`, { method: 'POST', headers, body: JSON.stringify(fields) });
  assert.strictEqual(answer.status, 201);
  return JSON.parse(answer.text);
}

/** Apps of one tunnel, and how often they have handled each path. */
class Apps {
  handled = new Map();
  #running = new Set();

  constructor(t, server, { token, key }, [client, transports]) {
    this.start = async () => {
      const app = fork(APP, [client, transports, `${server.url}/${token}`, key]);
      this.#running.add(app);
      app.on('exit', () => this.#running.delete(app));
      app.on('message', ({ handled }) => {
        if (handled) this.handled.set(handled, (this.handled.get(handled) ?? 0) + 1);
      });
      await once(app, 'message');
      return app;
    };
    t.after(() => this.#running.forEach((app) => app.kill('SIGKILL')));
  }

  get running() {
    return this.#running.size;
  }
}

/** Waits until an app has left by its own will. */
async function leave(app) {
  app.send('leave');
  assert.deepStrictEqual(await once(app, 'exit'), [0, null]);
}

async function kill(app) {
  app.kill('SIGKILL');
  await once(app, 'exit');
}

/** Visits a tunnel 200 times a second until `stop` is called, which returns what became of each request. */
function load(server, { token }, methods) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 500 });
  const answers = [];
  const ask = () => {
    const number = answers.length;
    const method = methods[number % methods.length];
    const path = `/${number}`;
    const body = ['POST', 'PUT', 'PATCH'].includes(method) ? 'x'.repeat(100) : undefined;
    const answer = visit(`${server.url}/go/${token}${path}`, { agent, method, body });
    answers.push(answer.then(({ status, text, headers }) => ({ path, method, status, text, code: headers['x-socket2me-error'] })));
  };
  const timer = setInterval(ask, PAUSE_MS);
  return {
    /** Completes once as many further requests were sent. */
    async more(count) {
      const wanted = answers.length + count;
      while (answers.length < wanted) await new Promise(setImmediate);
    },
    async stop() {
      clearInterval(timer);
      const all = await Promise.all(answers);
      agent.destroy();
      return all;
    },
  };
}

function isServed({ path, method, status, text }) {
  return status === 200 && text === `${path} ${method}`;
}

for (const [name, client] of Object.entries(ENDS)) {
  test(`${name}: an app that leaves before each restart loses no request, whatever its method`, limit, async (t) => {
    const server = await serve(t, ['--throttle-interval-ms', '0']);
    const tunnel = await make(server, { hold: 10 });
    const apps = new Apps(t, server, tunnel, client);
    let app = await apps.start();
    const visits = load(server, tunnel, EVERY_METHOD);
    for (let round = 0; round < 3; round += 1) {
      await visits.more(50);
      await leave(app);
      app = await apps.start();
    }
    await visits.more(50);
    const answers = await visits.stop();
    assert.deepStrictEqual(answers.filter((answer) => !isServed(answer)), []);
    assert.deepStrictEqual([...apps.handled].filter(([, times]) => times !== 1), []);
  });

  test(`${name}: an app that is killed loses no GET where its owner wants repeating`, limit, async (t) => {
    const server = await serve(t, ['--throttle-interval-ms', '0']);
    const tunnel = await make(server, { hold: 10, repeat: 'idempotent' });
    const apps = new Apps(t, server, tunnel, client);
    let app = await apps.start();
    const visits = load(server, tunnel, ['GET']);
    for (let round = 0; round < 3; round += 1) {
      await visits.more(50);
      await kill(app);
      app = await apps.start();
    }
    await visits.more(50);
    const answers = await visits.stop();
    assert.deepStrictEqual(answers.filter((answer) => !isServed(answer)), []);
    assert.deepStrictEqual([...apps.handled].filter(([, times]) => times > 2), []);
  });
}

test('visitors that arrive after a restart of the server wait until its apps are back', limit, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'socket2me-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const where = { store: `file:${join(folder, 'tunnels.redb')}` };
  for (const end of ['terminate', 'kill']) {
    const server = await serve(t, ['--throttle-interval-ms', '0'], where);
    const tunnel = await make(server, { hold: 10 });
    const apps = new Apps(t, server, tunnel, ENDS['4.8.4 upgrade']);
    const app = await apps.start();
    assert.strictEqual((await server.visit(tunnel.token, '/before')).status, 200);
    // What a change has waited for is in the file, and with it that an end has joined.
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${tunnel.key}` };
    const changed = await visit(`${server.url}/tunnel/${tunnel.token}`, { method: 'PATCH', headers, body: '{}' });
    assert.strictEqual(changed.status, 200);
    await server[end]();
    const again = await serve(t, ['--throttle-interval-ms', '0'], { ...where, port: server.port });
    const visits = load(again, tunnel, EVERY_METHOD);
    await visits.more(200);
    const answers = await visits.stop();
    assert.deepStrictEqual(answers.filter((answer) => !isServed(answer)), [], end);
    await leave(app);
    await again.stop();
  }
});

test('of three apps that share a tunnel one is killed, one leaves and one joins', limit, async (t) => {
  const server = await serve(t, ['--throttle-interval-ms', '0']);
  const tunnel = await make(server, { hold: 10, ends: 'spread' });
  const apps = new Apps(t, server, tunnel, ENDS['4.8.4 websocket']);
  const [first, second] = [await apps.start(), await apps.start(), await apps.start()];
  const visits = load(server, tunnel, EVERY_METHOD);
  await visits.more(100);
  await kill(first);
  await visits.more(100);
  await leave(second);
  await visits.more(100);
  await apps.start();
  await visits.more(100);
  const answers = await visits.stop();
  const lost = answers.filter((answer) => !isServed(answer));
  assert.deepStrictEqual(lost.filter(({ status, code }) => status !== 502 || code !== 'client-disconnected'), []);
  // Each takes 5 ms, so the one that was killed had few of 200 in a second.
  assert.ok(lost.length < 20, `${lost.length} lost with one of three apps`);
  assert.deepStrictEqual([...apps.handled].filter(([, times]) => times !== 1), [], 'none is handled twice');
  for (const answer of answers.filter(isServed)) assert.ok(apps.handled.has(answer.path), answer.path);

  const before = apps.running;
  const killed = await server.visit(tunnel.token, '/kill');
  assert.strictEqual(killed.headers['x-socket2me-error'], 'client-disconnected');
  assert.strictEqual((await server.visit(tunnel.token, '/after')).status, 200);
  assert.strictEqual(apps.handled.get('/kill'), 1);
  assert.strictEqual(apps.running, before - 1);
});
