// Answers that the relay gives before a body is read reach clients that are still sending it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from './free-port.mjs';
import { serve } from './support.mjs';

const MIB = 1 << 20;

/** Sends a POST with Node's `http`, and returns the answer. `agent` may keep connections. */
function post(url, body, options = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', ...options }, async (response) => {
      try {
        const parts = [];
        for await (const part of response) parts.push(part);
        const { statusCode: status, headers } = response;
        resolve({ status, code: headers['x-socket2me-error'], text: Buffer.concat(parts).toString() });
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function fetched(url, body, options) {
  const response = await fetch(url, { method: 'POST', body, ...options });
  return { status: response.status, code: response.headers.get('x-socket2me-error'), text: await response.text() };
}

/** The bodies of unread requests: where they go, their size, and what is answered. */
async function unread(t) {
  const server = await serve(t);
  const [lonely, joined] = [await server.token(), await server.token()];
  await server.end(joined, { transports: ['websocket'] }, (_, respond) => respond(200, 'served'));
  const cases = [
    [`${server.url}/go/${lonely}`, 3 * MIB, 500, 'client-not-connected'],
    [`${server.url}/go/${joined}`, 12 * MIB, 413, 'body-too-large'],
    [`${server.url}/go/${joined}`, 40 * MIB, 413, 'body-too-large'],
    [`${server.url}/nothing`, MIB, 404, 'not-found'],
    [`${server.url}/new`, 8 * MIB, 415, 'unsupported-media-type'],
  ];
  return { server, cases, joined };
}

function isError(answer, status, code) {
  assert.deepEqual([answer.status, answer.code], [status, code]);
  assert.match(answer.text, /^\{"Error":"/);
}

test("Node's http gets answers that are given before the body is read", async (t) => {
  const { server, cases, joined } = await unread(t);
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  for (const [url, size, status, code] of cases) {
    for (const options of [{ agent: false }, { agent }]) {
      isError(await post(url, Buffer.alloc(size, 'x'), options), status, code);
    }
  }
  assert.equal((await post(`${server.url}/go/${joined}`, 'x', { agent })).text, 'served');
});

test("Node's fetch gets answers that are given before the body is read", async (t) => {
  const { server, cases, joined } = await unread(t);
  for (const [url, size, status, code] of cases) {
    isError(await fetched(url, Buffer.alloc(size, 'x')), status, code);
  }
  assert.equal((await fetched(`${server.url}/go/${joined}`, 'x')).text, 'served');
});

test('a fetch whose body is a stream gets an answer that is given before the body is read', async (t) => {
  const { server } = await unread(t);
  const part = new Uint8Array(64 << 10);
  let left = 128;
  const body = new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(part); else controller.close();
    },
  });
  isError(await fetched(`${server.url}/nothing`, body, { duplex: 'half' }), 404, 'not-found');
});

test('a target that the server cannot read gets an error of the relay', async (t) => {
  const { server } = await unread(t);
  for (const path of ['/go/x?a="', '/go/<x>', '/go/`x`']) {
    // Node's own client refuses none of these in a raw request.
    const socket = net.connect(server.port, '127.0.0.1');
    socket.write(`GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`);
    let text = '';
    socket.on('data', (data) => { text += data; });
    await once(socket, 'end');
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.match(text, /x-socket2me-error: invalid-head\r\n[^]*\{"Error":"the request is not valid HTTP: /);
  }
});

const NGINX = process.env.SOCKET2ME_NGINX;
const UPGRADE = {
  Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** Starts nginx in front of the server with these directives. Returns its port, once it serves. */
async function proxy(t, server, directives) {
  const folder = mkdtempSync(join(tmpdir(), 'socket2me-nginx-'));
  // nginx says nothing of a port that it chose itself.
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
  writeFileSync(join(folder, 'nginx.conf'), `daemon off; master_process off; pid ${folder}/pid; events {}
    http { access_log off; client_max_body_size 0; ${temporary.join(' ')}
      server { listen 127.0.0.1:${port}; location / { proxy_pass ${server.url}; ${directives} } } }`);
  const child = spawn(NGINX, ['-p', folder, '-e', join(folder, 'log'), '-c', 'nginx.conf'], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGTERM');
    await exited;
    rmSync(folder, { recursive: true });
  });
  for (;;) {
    const socket = net.connect(port, '127.0.0.1');
    const outcome = await Promise.race([
      once(socket, 'connect').then(() => 'serves', () => 'not yet'), exited.then(() => 'ended'),
    ]);
    socket.destroy();
    if (outcome === 'serves') return `http://127.0.0.1:${port}`;
    assert.notEqual(outcome, 'ended', 'nginx has ended');
  }
}

/** Asks for a WebSocket, and returns what the server answers instead. */
function handshake(url) {
  return new Promise((resolve, reject) => {
    const request = http.get(`${url}/socket.io/?EIO=4&transport=websocket`, { agent: false, headers: UPGRADE });
    request.on('error', reject);
    request.on('upgrade', (_, socket) => { socket.destroy(); resolve({ status: 101 }); });
    request.on('response', async (response) => {
      let text = '';
      for await (const part of response) text += part;
      resolve({ status: response.statusCode, text });
    });
  });
}

test('behind nginx, answers arrive that are given before the body is read', { skip: !NGINX }, async (t) => {
  const { server, cases } = await unread(t);
  for (const directives of ['', 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;']) {
    const url = await proxy(t, server, directives);
    for (const [target, size, status, code] of cases) {
      for (let round = 0; round < 3; round += 1) {
        const path = target.slice(server.url.length);
        isError(await post(`${url}${path}`, Buffer.alloc(size, 'x'), { agent: false }), status, code);
      }
    }
  }
});

test('behind nginx as it comes, a WebSocket is told what nginx must pass on', { skip: !NGINX }, async (t) => {
  const server = await serve(t);
  const plain = await handshake(await proxy(t, server, ''));
  assert.equal(plain.status, 400);
  const told = /In nginx: (.*;)"}$/.exec(plain.text)?.[1];
  assert.match(told, /proxy_http_version 1\.1;.*Upgrade.*Connection/);
  // With HTTP/1.1 alone, nginx still drops the headers.
  const without = await handshake(await proxy(t, server, 'proxy_http_version 1.1;'));
  assert.equal(without.text, plain.text);
  assert.equal((await handshake(await proxy(t, server, 'proxy_set_header Upgrade $http_upgrade;'))).status, 400);
  assert.equal((await handshake(await proxy(t, server, told))).status, 101, 'what the message says is enough');
});
