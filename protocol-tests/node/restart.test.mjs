// A server that is killed under traffic and started again: the same URLs, and official clients come back by themselves.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from './free-port.mjs';
import { connected, event, serve, visit } from './support.mjs';

const require = createRequire(import.meta.url);
const limit = { timeout: 60_000 };
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const VERSIONS = {
  '1.4.8': 'socket.io-client-1.4.8',
  '2.5.0': 'socket.io-client-2.5.0',
  '4.8.4': 'socket.io-client',
};

/** The stores that outlive a server: each returns what `--store` names, for a test. */
const STORES = {
  file: (t) => `file:${join(folder(t), 'tunnels.redb')}`,
  redis: async (t) => (await redis(t)).url,
};
const SKIPPED = { redis: !process.env.SOCKET2ME_REDIS && 'there is no redis-server' };

function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'socket2me-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function redis(t) {
  const port = await freePort();
  const flags = ['--port', port, '--bind', '127.0.0.1', '--dir', folder(t), '--save', '', '--appendonly', 'no'];
  const child = spawn(process.env.SOCKET2ME_REDIS, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  for await (const text of child.stdout) {
    if (String(text).includes('Ready to accept connections')) break;
  }
  return { url: `redis://127.0.0.1:${port}`, signal: (name) => child.kill(name) };
}

/** Calls `each` for every client, transport and kind of tunnel, with an `end` that is still to connect. */
async function everyEnd(server, each) {
  for (const [version, name] of Object.entries(VERSIONS)) {
    const library = require(name);
    const isOld = Number(version[0]) < 3;
    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      for (const keyed of [false, true]) {
        const { token, key } = await make(server, keyed);
        const auth = keyed && !isOld ? { auth: { key } } : {};
        const query = keyed && isOld ? `?key=${key}` : '';
        const options = { transports, ...auth };
        const text = `${version} ${transport} ${keyed ? 'keyed' : 'original'}`;
        const connect = () => {
          const end = server.socket(`${token}${query}`, options, server.url, library.io ?? library);
          end.on('request', (request, respond) => respond(200, text));
          return end;
        };
        await each({ connect, isOld, text, url: `${server.url}/go/${token}/` });
      }
    }
  }
}

async function make(server, keyed) {
  if (!keyed) return { token: await server.token() };
  const headers = { 'Content-Type': 'application/json' };
  const answer = await visit(`${server.url}/new`, { method: 'POST', headers, body: '{}' });
  assert.strictEqual(answer.status, 201);
  return JSON.parse(answer.text);
}

/** Visits a tunnel until its end answers. Nothing is said of what comes before: the server may be away. */
async function served(url, text) {
  for (;;) {
    const answer = await visit(url).catch(() => ({}));
    if (answer.status === 200 && answer.text === text) return;
    await new Promise(setImmediate);
  }
}

for (const [store, place] of Object.entries(STORES)) {
  const options = { ...limit, skip: SKIPPED[store] };
  test(`${store}: a server that is killed and started again has all tunnels, and all ends come back`, options, async (t) => {
    const where = { store: await place(t) };
    const server = await serve(t, [], where);
    const tunnels = [];
    await everyEnd(server, async ({ connect, url, text }) => {
      await connected(connect());
      tunnels.push({ url, text });
    });
    let over = false;
    const traffic = tunnels.map(async ({ url }) => {
      while (!over) await visit(url).catch(() => {});
    });
    await Promise.all(tunnels.map(({ url, text }) => served(url, text)));
    await server.kill();
    await serve(t, [], { ...where, port: server.port });
    await Promise.all(tunnels.map(({ url, text }) => served(url, text)));
    over = true;
    await Promise.all(traffic);
  });
}

test('ends that cannot join while the store is away are not refused, and join once it is back', { ...limit, skip: SKIPPED.redis }, async (t) => {
  const { url: store, signal } = await redis(t);
  const server = await serve(t, [], { store });
  const ends = [];
  await everyEnd(server, (end) => ends.push(end));
  signal('SIGSTOP');
  // Until it is known to be away.
  while ((await visit(`${server.url}/new`)).status !== 503);
  const waiting = ends.map(({ connect, isOld, text }) => {
    const end = connect();
    // Both libraries have an event for a refusal, and for a connection that fails: that one has no message of ours.
    end.on(isOld ? 'error' : 'connect_error', (error) => {
      assert.doesNotMatch(String(error.message ?? error), /token|key|store/, text);
    });
    return event(end.io, 'close');
  });
  await Promise.all(waiting);
  signal('SIGCONT');
  await Promise.all(ends.map(({ url, text }) => served(url, text)));
});
