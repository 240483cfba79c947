// The samples of the README, each run as it is printed there.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
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
import { chromium, openTab } from './browser.mjs';
import { serve, visit } from './support.mjs';

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

/** Runs a sample in a folder of its own. Returns its lines of both kinds, which `next` waits for. */
async function run(t, server, text, command = process.execPath, name = 'app.mjs') {
  const folder = await mkdtemp(path.join(tmpdir(), 'socket2me-readme-'));
  await symlink(here('node_modules'), path.join(folder, 'node_modules'));
  await writeFile(path.join(folder, name), text);
  const env = { ...process.env, SOCKET2ME_SERVER: server.url, WEBHOOK_SECRET: 'secret' };
  const child = spawn(command, [name], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(async () => {
    const exited = child.exitCode === null && child.signalCode === null && once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    await rm(folder, { recursive: true });
  });
  const lines = (stream) => createInterface({ input: stream })[Symbol.asyncIterator]();
  const next = async (from) => (await from.next()).value;
  const [out, errors] = [lines(child.stdout), lines(child.stderr)];
  return { next: () => next(out), error: () => next(errors) };
}

/** Runs a sample until it has said its public URL. */
async function published(t, server, ...how) {
  const app = await run(t, server, ...how);
  return { app, url: await urlOf(app, server) };
}

async function urlOf(app, server) {
  const [, url] = /^public URL: (\S+)$/.exec(await app.next()) ?? assert.fail('no URL');
  assert.match(url, new RegExp(`^${server.url}/go/\\w{48}$`));
  return url;
}

const outcome = async (url, options) => {
  const { status, text } = await visit(url, options);
  return [status, text];
};

test('the first app answers its visitor', limit, async (t) => {
  const server = await serve(t);
  const { url } = await published(t, server, sample('## Try it', 'js'));
  assert.match(README, /curl "\S+\/go\/TOKEN\/hello\?x=1"\n# Hello from \/hello \{"x":"1"\}/);
  assert.deepStrictEqual(await outcome(`${url}/hello?x=1`), [200, 'Hello from /hello {"x":"1"}']);
});

test('the app that keeps running answers, fails aloud, and gets a new tunnel when its own is gone', limit, async (t) => {
  const server = await serve(t, ['--token-grace', '0'], { env: { TOKEN_EXPIRE_SECONDS: '4' } });
  const { app, url } = await published(t, server, sample('### An app that keeps running', 'js'));
  assert.deepStrictEqual(await outcome(`${url}/a`), [200, 'Hello from /a']);
  assert.deepStrictEqual(await outcome(`${url}/fail`), [500, 'this app has failed']);
  assert.match(await app.error(), /as the visitor wants it/);
  const next = await urlOf(app, server);
  assert.notStrictEqual(next, url);
  assert.deepStrictEqual(await outcome(`${next}/b`), [200, 'Hello from /b']);
});

test('the app that keeps running gets a new tunnel when its server was started again', limit, async (t) => {
  const first = await serve(t);
  const { app, url } = await published(t, first, sample('### An app that keeps running', 'js'));
  await first.terminate();
  const second = await serve(t, [], { port: first.port });
  const next = await urlOf(app, second);
  assert.notStrictEqual(next, url);
  assert.deepStrictEqual(await outcome(`${next}/b`), [200, 'Hello from /b']);
});

test('the webhook takes what is signed and nothing else', limit, async (t) => {
  const server = await serve(t);
  const { app, url } = await published(t, server, sample('### Webhooks', 'js'));
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
  const { url } = await published(t, server, sample('### Python', 'python'), PYTHON, 'app.py');
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
  assert.deepStrictEqual(await outcome(`${url}/tab`), [200, 'Hello from a tab: /tab']);
});
