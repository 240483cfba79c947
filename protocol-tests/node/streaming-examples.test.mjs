// The apps in examples/streaming: each has a page, an event stream, an upload that is hashed, and a WebSocket that echoes.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { chromium, openTab } from './browser.mjs';
import { byPath, serve, visit } from './support.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const EXAMPLES = here('../../examples/streaming');
const PAGE = readFileSync(path.join(EXAMPLES, 'page.html'), 'utf8');
const PYTHON = here('../../target/python/latest/bin/python');
const limit = { timeout: 60_000 };
const needsPython = { ...limit, skip: !existsSync(PYTHON) && 'run scripts/test once' };

/** Runs a demo in a copy of its folder. Returns its public URL, by its path. */
async function run(t, command, file) {
  const server = await serve(t);
  const folder = mkdtempSync(path.join(tmpdir(), 'socket2me-streaming-'));
  t.after(() => rmSync(folder, { recursive: true, maxRetries: 3 }));
  cpSync(EXAMPLES, folder, { recursive: true });
  symlinkSync(here('node_modules'), path.join(folder, 'node_modules'));
  const env = { ...process.env, SOCKET2ME_SERVER: server.url, PYTHONDONTWRITEBYTECODE: '1' };
  const child = spawn(command, [path.join(folder, file)], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  t.after(() => {
    child.kill('SIGKILL');
    return exited;
  });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return byPath(/^public URL: (\S+)$/.exec(line)[1], server);
}

/** Visits an app as its page does. */
async function check(t, url) {
  const { status, text } = await visit(`${url}/`);
  assert.deepStrictEqual([status, text], [200, PAGE]);
  assert.strictEqual((await visit(`${url}/other`)).status, 404);

  const body = Buffer.alloc(1 << 20, 'upload');
  const { text: hash } = await visit(`${url}/hash`, { method: 'POST', body });
  assert.strictEqual(hash, createHash('sha256').update(body).digest('hex'));

  const request = http.get(`${url}/events`, { agent: false });
  request.on('error', () => {});
  const [response] = await once(request, 'response');
  const [first] = await once(response.on('error', () => {}), 'data');
  assert.match(String(first), /^data: \d{4}-\d\d-\d\dT.*\n\n$/);
  request.destroy();

  const socket = new WebSocket(`${url.replace('http', 'ws')}/echo`);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  for (const message of ['text', Buffer.from('bytes')]) {
    socket.send(message);
    const [data, isBinary] = await once(socket, 'message');
    assert.deepStrictEqual(isBinary ? data : data.toString(), message);
  }
  socket.close(1000);
  assert.strictEqual((await once(socket, 'close'))[0], 1000);
}

test('the app in Node.js', limit, async (t) => check(t, await run(t, process.execPath, 'node/demo.mjs')));
test('the app on AsyncClient', needsPython, async (t) => check(t, await run(t, PYTHON, 'python/demo_async.py')));
test('the app on Client', needsPython, async (t) => check(t, await run(t, PYTHON, 'python/demo_sync.py')));

const browser = chromium();
const CLIENT = 'node_modules/socket.io-client/dist/socket.io.min.js';
test('the app in a tab', { ...limit, skip: browser === undefined && !process.env.CI && 'no Chromium' }, async (t) => {
  const server = await serve(t);
  const site = http.createServer(({ url }, response) => {
    const { pathname } = new URL(url, 'http://site');
    const name = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
    const isScript = name.endsWith('.js');
    const file = name.endsWith('socket.io.min.js') ? here(CLIENT) : path.join(EXAMPLES, name);
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(existsSync(file) ? readFileSync(file) : '');
  });
  await once(site.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    site.closeAllConnections();
    site.close();
  });
  const tab = await openTab(t, browser);
  await tab.open(`http://127.0.0.1:${site.address().port}/browser/?server=${server.url}`);
  let url;
  do {
    url = await tab.run("document.querySelector('#url').textContent");
  } while (url === 'connecting');
  await check(t, byPath(url, server));
});
