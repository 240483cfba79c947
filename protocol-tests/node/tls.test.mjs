// Official clients as ends of a server that speaks TLS itself, and long-polling by HTTP/2, as pages in browsers do it.

import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { TRANSPORTS, serve } from './support.mjs';

const limit = { timeout: 20_000 };

/** Starts a server with a certificate for 127.0.0.1 that it has signed itself. */
async function serveByTls(t) {
  const folder = mkdtempSync(join(tmpdir(), 'socket2me-node-tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
  const request = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1';
  execFileSync('openssl', ['req', ...request.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const ca = readFileSync(cert);
  return { server: await serve(t, ['--tls-cert', cert, '--tls-key', key], { ca }), ca };
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: an end over TLS answers, and is told that its visitor came by https`, limit, async (t) => {
    const { server } = await serveByTls(t);
    const token = await server.token();
    const body = Buffer.alloc(1_000_000, 7);
    await server.end(token, { ...transport, auth: { body: 'raw' } }, (request, respond) => {
      respond(200, request.body, { 'x-proto': request.headers['x-forwarded-proto'] });
    });
    const answer = await server.visit(token, '/x', { method: 'POST', body });
    assert.deepStrictEqual([answer.status, answer.headers['x-proto']], [200, 'https']);
    assert.ok(answer.body.equals(body));
  });
}

/** Asks by HTTP/2. Returns the status and the text of the answer. */
async function ask(session, path, method = 'GET', body = undefined) {
  const stream = session.request({ ':path': path, ':method': method, 'content-type': 'text/plain' });
  stream.end(body);
  let status;
  stream.on('response', (headers) => { status = headers[':status']; });
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) text += chunk;
  return { status, text };
}

test('a session polls and posts by HTTP/2 on one connection', limit, async (t) => {
  const { server, ca } = await serveByTls(t);
  const token = await server.token();
  const session = http2.connect(server.url, { ca });
  t.after(() => session.destroy());
  const { text: open } = await ask(session, '/socket.io/?EIO=4&transport=polling');
  const at = `/socket.io/?EIO=4&transport=polling&sid=${JSON.parse(open.slice(1)).sid}`;
  // The poll waits, and the post that ends it comes on another stream.
  const joined = ask(session, at);
  assert.deepStrictEqual(await ask(session, at, 'POST', `40/${token}`), { status: 200, text: 'ok' });
  assert.ok((await joined).text.startsWith(`40/${token},`));
  const asked = ask(session, at);
  const visited = server.visit(token, '/x');
  const [, id] = /^42\/\w+,(\d+)\[/.exec((await asked).text);
  await ask(session, at, 'POST', `43/${token},${id}[200,"by HTTP/2"]`);
  assert.deepStrictEqual((await visited).text, 'by HTTP/2');
  // A WebSocket comes by HTTP/1.1 alone.
  const { status } = await ask(session, '/socket.io/?EIO=4&transport=websocket');
  assert.deepStrictEqual(status, 400);
  await ask(session, at, 'POST', '1');
});
