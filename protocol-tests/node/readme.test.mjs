// The samples of the README, each run as it is printed there.

import assert from 'node:assert';
import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium, openTab } from './browser.mjs';
import { byPath, serve, visit } from './support.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const README = readFileSync(here('../../README.md'), 'utf8');
const PYTHON = here('../../target/python/latest/bin/python');
const limit = { timeout: 30_000 };

/** Returns the only sample in this language that follows this heading. */
function sample(heading, language) {
  const section = README.split(/^(?=##+ )/m).find((text) => text.startsWith(`${heading}\n`));
  const samples = [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, found]) => found === language);
  assert.strictEqual(samples.length, 1, heading);
  return samples[0][2];
}

/** Makes the folder of an app, which a second run of the app finds again. */
async function folderOf(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'socket2me-readme-'));
  t.after(() => rm(folder, { recursive: true, maxRetries: 3 }));
  await symlink(here('node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

/** Makes the tunnel of the first steps by the command that they print, and returns what it answers. */
async function made(server) {
  const [, command] = /^(curl .+ -d .+)\n# (\{.+…\})$/m.exec(README);
  const { stdout } = await promisify(execFile)('sh', ['-c', command.replace('http://127.0.0.1:3000', server.url)]);
  return JSON.parse(stdout);
}

/** Runs a sample. Returns its lines of both kinds, which `next` and `error` wait for, and its exit. */
async function run(t, server, text, { command = process.execPath, name = 'app.mjs', tunnel = {}, folder } = {}) {
  const cwd = folder ?? await folderOf(t);
  await writeFile(path.join(cwd, name), text);
  const keys = { TUNNEL: tunnel.token, TUNNEL_KEY: tunnel.key };
  const env = { ...process.env, SOCKET2ME_SERVER: server.url, WEBHOOK_SECRET: 'secret', ...keys };
  const child = spawn(command, [name], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  const kill = (signal = 'SIGKILL') => {
    child.kill(signal);
    return exited;
  };
  t.after(() => kill());
  const lines = (stream) => createInterface({ input: stream })[Symbol.asyncIterator]();
  const next = async (from) => (await from.next()).value;
  const [out, errors] = [lines(child.stdout), lines(child.stderr)];
  return { next: () => next(out), error: () => next(errors), exited, kill };
}

/** Runs a sample until it has said its public URL. */
async function published(t, server, ...how) {
  const app = await run(t, server, ...how);
  return { app, url: await urlOf(app, server) };
}

async function urlOf(app, server) {
  const [, url] = /^public URL: (\S+)$/.exec(await app.next()) ?? assert.fail('no URL');
  return byPath(url, server);
}

const outcome = async (url, options) => {
  const { status, text } = await visit(url, options);
  return [status, text];
};

test('the first app answers its visitor', limit, async (t) => {
  const server = await serve(t);
  const tunnel = await made(server);
  const printed = JSON.parse(/^# (\{"token".+),…\}$/m.exec(README)[1].replace('s2m_…', tunnel.key) + '}');
  assert.deepStrictEqual({ ...printed, url: printed.url.replace(':3000', `:${server.port}`) },
    { token: tunnel.token, key: tunnel.key, url: tunnel.url });
  const { url } = await published(t, server, sample('## Try it', 'js'), { tunnel });
  assert.strictEqual(url, tunnel.path_url);
  assert.match(README, /curl "\S+\/go\/my-app\/hello\?x=1"\n# Hello from \/hello \{"x":"1"\}/);
  assert.deepStrictEqual(await outcome(`${url}/hello?x=1`), [200, 'Hello from /hello {"x":"1"}']);
});

test('the app that keeps running answers, fails aloud, and has its URL again when it is started again', limit, async (t) => {
  const server = await serve(t);
  const [text, folder] = [sample('### An app that keeps running', 'js'), await folderOf(t)];
  const { app, url } = await published(t, server, text, { folder });
  assert.deepStrictEqual(await outcome(`${url}/a`), [200, 'Hello from /a']);
  assert.deepStrictEqual(await outcome(`${url}/fail`), [500, 'this app has failed']);
  assert.match(await app.error(), /as the visitor wants it/);
  await app.kill();
  const second = await published(t, server, text, { folder });
  assert.strictEqual(second.url, url);
  assert.deepStrictEqual(await outcome(`${url}/b`), [200, 'Hello from /b']);
  // A third one takes over, and the second does not fight for it.
  const third = await published(t, server, text, { folder });
  assert.strictEqual(third.url, url);
  assert.deepStrictEqual((await second.app.exited)[0], 1);
  assert.deepStrictEqual(await outcome(`${url}/c`), [200, 'Hello from /c']);
  // It leaves when it is told to, and its visitors wait for the next.
  third.app.kill('SIGTERM');
  assert.deepStrictEqual((await third.app.exited)[0], 0);
  const answer = outcome(`${url}/d`);
  await published(t, server, text, { folder });
  assert.deepStrictEqual(await answer, [200, 'Hello from /d']);
});

test('the app that keeps running gets another tunnel when its own is gone', limit, async (t) => {
  const server = await serve(t);
  const [text, folder] = [sample('### An app that keeps running', 'js'), await folderOf(t)];
  const { app, url } = await published(t, server, text, { folder });
  const { token, key } = JSON.parse(readFileSync(path.join(folder, 'tunnel.json'), 'utf8'));
  const deleted = await visit(`${server.url}/tunnel/${token}`, { method: 'DELETE', headers: { authorization: `Bearer ${key}` } });
  assert.strictEqual(deleted.status, 204);
  assert.deepStrictEqual((await app.exited)[0], 1);
  const next = await published(t, server, text, { folder });
  assert.notStrictEqual(next.url, url);
  assert.deepStrictEqual(await outcome(`${next.url}/b`), [200, 'Hello from /b']);
});

test('the app that keeps running gets another tunnel when its server has lost all', limit, async (t) => {
  const first = await serve(t);
  const { app, url } = await published(t, first, sample('### An app that keeps running', 'js'));
  await first.terminate();
  const second = await serve(t, [], { port: first.port });
  const next = await urlOf(app, second);
  assert.notStrictEqual(next, url);
  assert.deepStrictEqual(await outcome(`${next}/b`), [200, 'Hello from /b']);
});

test('the app that keeps running ends when it is told to, also while its server is away', limit, async (t) => {
  const server = await serve(t);
  const { app } = await published(t, server, sample('### An app that keeps running', 'js'));
  await server.terminate();
  assert.match(await app.error(), /^disconnected: /);
  await app.kill('SIGTERM');
  assert.deepStrictEqual((await app.exited)[0], 0);
});

test('the app without a key answers its visitor', limit, async (t) => {
  const server = await serve(t);
  const { url } = await published(t, server, sample('### Tunnels without a key', 'js'));
  assert.deepStrictEqual(await outcome(`${url}/a`), [200, 'Hello from /a']);
});

test('the webhook takes what is signed and nothing else', limit, async (t) => {
  const server = await serve(t);
  const { app, url } = await published(t, server, sample('### Webhooks', 'js'), { tunnel: await made(server) });
  const body = '{"a" : 1}';
  const post = (signature) =>
    outcome(url, { method: 'POST', headers: { 'content-type': 'application/json', 'x-hub-signature-256': signature }, body });
  const signed = `sha256=${createHmac('sha256', 'secret').update(body).digest('hex')}`;
  assert.deepStrictEqual(await post(signed), [200, 'thanks']);
  assert.strictEqual(await app.next(), 'got { a: 1 }');
  assert.deepStrictEqual(await post(signed.replace(/.$/, 'g')), [401, 'wrong signature']);
  assert.deepStrictEqual(await post('é'.repeat(signed.length)), [401, 'wrong signature']);
  assert.deepStrictEqual(await outcome(url, { method: 'POST', body }), [401, 'wrong signature']);
});

// scripts/test makes this Python's environment before it runs the tests.
test('the app in Python answers its visitor', { ...limit, skip: !existsSync(PYTHON) && 'run scripts/test once' }, async (t) => {
  const server = await serve(t);
  const how = { command: PYTHON, name: 'app.py', tunnel: await made(server) };
  const { url } = await published(t, server, sample('### Python', 'python'), how);
  const { status, text, headers } = await visit(`${url}/py`);
  assert.deepStrictEqual([status, text, headers['x-python']], [200, 'Hello from /py', 'yes']);
});

const browser = chromium();
test('the page in a tab answers its visitor', { timeout: 60_000, skip: !browser && 'no Chromium' }, async (t) => {
  const server = await serve(t);
  const files = { '/': sample('### A browser tab', 'html') };
  const script = readFileSync(here('node_modules/socket.io-client/dist/socket.io.min.js'));
  const site = http.createServer(({ url }, response) => {
    const isScript = url === '/socket.io.min.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : files[new URL(url, 'http://x').pathname]);
  });
  await once(site.listen(0, '127.0.0.1'), 'listening');
  t.after(() => { site.closeAllConnections(); site.close(); });
  const tab = await openTab(t, browser);
  await tab.open(`http://127.0.0.1:${site.address().port}/?server=${server.url}`);
  let url;
  do {
    url = await tab.run("document.querySelector('#url').textContent");
  } while (url === 'connecting');
  assert.deepStrictEqual(await outcome(`${byPath(url, server)}/tab`), [200, 'Hello from a tab: /tab']);
});
