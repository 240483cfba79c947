// The app of the streaming suite, in a process of its own: node streaming-app.mjs CLIENT TRANSPORT URL
//
// It says `connected` and `disconnected`. The same app is streaming-tab.mjs in a tab, and streaming_app.py in the folder of the
// Python tests.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { stream } from '../../examples/streaming/node/stream.mjs';

const [client, transport, url] = process.argv.slice(2);
const library = createRequire(import.meta.url)(client);
const isOld = /-[12]\./.test(client);
const socket = (library.io ?? library)(url + (isOld ? '?stream=1&window=1048576' : ''), {
  auth: { stream: { version: 1, window: 1 << 20 } }, transports: [transport], reconnectionDelay: 20, reconnectionDelayMax: 50,
});
socket.on('connect', () => console.log('connected'));
socket.on('disconnect', () => console.log('disconnected'));
stream(socket, (request, response, respond) => {
  const query = Object.fromEntries(new URLSearchParams(request.search));
  return ROUTES[request.url](request, response, query, respond);
});

/** Bytes from an offset of a body on: 0 to 250, again and again. */
const PATTERN = Buffer.alloc(251 * 300, Uint8Array.from({ length: 251 }, (_, index) => index));
const bytes = (at, size) => PATTERN.subarray(at % 251, at % 251 + size);

/** What the app has noted, or was told to go on with: each name is a promise. */
const notes = new Map();
function note(name) {
  if (!notes.has(name)) {
    let keep;
    notes.set(name, Object.assign(new Promise((resolve) => { keep = resolve; }), { keep }));
  }
  return notes.get(name);
}

const pause = ({ jitter }) => jitter && sleep(Math.random() * 10);

async function digest(request, query) {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of request.body) {
    await pause(query);
    size += chunk.length;
    hash.update(chunk);
  }
  const length = request.headers['content-length'] ?? null;
  return JSON.stringify({ size, sha256: hash.digest('hex'), length, streamed: request.streamed });
}

/** Writes, and waits where there is no room. */
async function write(response, part) {
  if (!response.write(part)) await once(response, 'drain');
}

const ROUTES = {
  '/hello'(request, response) {
    response.head(200, { 'content-type': 'text/plain', 'x-lines': ['one', 'two'] });
    response.end(`hello ${request.method}`);
  },
  '/whole'(request, response, query, respond) {
    respond(201, 'whole', { 'x-way': 'ack' });
  },
  async '/bytes'(request, response, { size, length, ...query }) {
    response.head(200, length ? { 'content-length': size } : {});
    for (let at = 0; at < Number(size); at += 50_000) {
      await pause(query);
      await write(response, bytes(at, Math.min(50_000, size - at)));
    }
    response.end();
  },
  '/empty'(request, response) {
    response.head(204, { 'x-empty': 'yes' });
    response.end();
  },
  '/trailers'(request, response) {
    response.head(200, { trailer: 'x-checked' });
    response.trailers = { 'x-checked': 'yes' };
    response.end('body');
  },
  async '/digest'(request, response, query) {
    const text = await digest(request, query);
    response.head(200, { 'content-type': 'application/json' });
    response.end(text);
  },
  '/early'(request, response) {
    response.head(403);
    response.end('too early to tell');
  },
  async '/echo'(request, response, query) {
    response.head(200);
    for await (const chunk of request.body) {
      await pause(query);
      await write(response, chunk);
    }
    response.end();
  },
  async '/events'(request, response, { name }) {
    response.head(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
    await note(name);
    response.end('data: second\n\n');
  },
  '/tell'(request, response, { name }, respond) {
    note(name).keep('told');
    respond(204);
  },
  async '/heard'(request, response, { name }, respond) {
    respond(200, await note(name));
  },
  async '/endless'(request, response, { name }) {
    response.on('close', () => note(name).keep('left'));
    response.head(200);
    for (let at = 0; ; at += 50_000) await write(response, bytes(at, 50_000));
  },
  async '/swallow'(request, response, { name }) {
    response.on('close', () => note(name).keep('left'));
    for await (const chunk of request.body) note(`${name}-begun`).keep('begun');
  },
  async '/later'(request, response, { name, ...query }) {
    response.on('close', () => note(`${name}-over`).keep('left'));
    note(`${name}-begun`).keep('begun');
    await note(name);
    return ROUTES['/digest'](request, response, query);
  },
  async '/slow'(request, response) {
    await sleep(Math.random() * 100);
    response.head(200);
    response.end('slow');
  },
  '/fail'() {
    throw new Error('as the test wants it');
  },
  async '/fail-later'(request, response, { length }) {
    response.head(200, length ? { 'content-length': '100000' } : {});
    await write(response, bytes(0, 50_000));
    throw new Error('as the test wants it');
  },
  async '/chat'(request, response, { name }) {
    if (name) response.on('close', () => note(name).keep('left'));
    const [protocol] = (request.headers['sec-websocket-protocol'] ?? '').split(/, */);
    response.head(101, protocol ? { 'sec-websocket-protocol': protocol } : {});
    for await (const message of request.body) {
      if (message === 'fail') throw new Error('as the test wants it');
      if (message === 'leave') {
        response.closing = [4001, 'as you like'];
        break;
      }
      await write(response, message);
    }
    if (request.closed) note(`${name}-closed`).keep(JSON.stringify(request.closed));
    response.end();
  },
  '/refuse'(request, response) {
    response.head(403, { 'x-refused': 'yes' });
    response.end('no WebSockets here');
  },
};
