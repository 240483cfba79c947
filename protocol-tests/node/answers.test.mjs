// Answers that the relay gives before a body is read reach clients that are still sending it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
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
    [`${server.url}/new`, 8 * MIB, 405, 'method-not-allowed'],
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
