// The app of the streaming suite in a tab, which tells its site whether it is connected. streaming-app.mjs is its like.

/* global io */
import { stream } from './stream.js';

const socket = io(new URLSearchParams(location.search).get('end'), {
  auth: { stream: { version: 1, window: 1 << 20 } },
  transports: ['websocket'],
  reconnectionDelay: 20,
  reconnectionDelayMax: 50,
});
socket.on('connect', () => fetch('/connected'));
socket.on('disconnect', () => fetch('/disconnected'));
stream(socket, (request) => ROUTES[request.url](request, Object.fromEntries(new URLSearchParams(request.search))));

const pattern = (at, size) => Uint8Array.from({ length: size }, (_, index) => (at + index) % 251);

/** What the app has noted, or was told to go on with: each name is a promise. */
const notes = new Map();
function note(name) {
  if (!notes.has(name)) {
    let keep;
    notes.set(name, Object.assign(new Promise((resolve) => { keep = resolve; }), { keep }));
  }
  return notes.get(name);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const pause = ({ jitter }) => jitter && sleep(Math.random() * 10);

/** A stream of what a generator yields. */
function streamOf(generator) {
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await generator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (error) => generator.return(error),
  }, { highWaterMark: 0 });
}

async function digest(request, query) {
  const chunks = [];
  for await (const chunk of request.body) {
    await pause(query);
    chunks.push(chunk);
  }
  const bytes = await new Blob(chunks).arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const sha256 = Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const length = request.headers['content-length'] ?? null;
  return Response.json({ size: bytes.byteLength, sha256, length, streamed: request.streamed });
}

async function* echoed(request, query) {
  for await (const chunk of request.body) {
    await pause(query);
    yield chunk;
  }
}

async function* chat(request, { name }, response) {
  for await (const message of request.body) {
    if (message === 'fail') throw new Error('as the test wants it');
    if (message === 'leave') {
      response.closing = [4001, 'as you like'];
      return;
    }
    yield message;
  }
  note(`${name}-closed`).keep(JSON.stringify(request.closed));
}

const encoded = (text) => new TextEncoder().encode(text);
const left = (request, name) => request.signal.addEventListener('abort', () => note(name).keep('left'));

const ROUTES = {
  '/hello': ({ method }) => ({ headers: { 'content-type': 'text/plain', 'x-lines': ['one', 'two'] }, body: `hello ${method}` }),
  '/whole': () => [201, 'whole', { 'x-way': 'ack' }],
  '/bytes': (request, { size, length, ...query }) => ({
    headers: length ? { 'content-length': size } : {},
    body: streamOf((async function* () {
      for (let at = 0; at < Number(size); at += 50_000) {
        await pause(query);
        yield pattern(at, Math.min(50_000, size - at));
      }
    })()),
  }),
  '/empty': () => new Response(null, { status: 204, headers: { 'x-empty': 'yes' } }),
  '/trailers': () => ({ headers: { trailer: 'x-checked' }, body: 'body', trailers: { 'x-checked': 'yes' } }),
  '/digest': digest,
  '/early': () => new Response('too early to tell', { status: 403 }),
  '/echo': (request, query) => new Response(streamOf(echoed(request, query))),
  '/events': (request, { name }) => ({
    headers: { 'content-type': 'text/event-stream' },
    body: streamOf((async function* () {
      yield encoded('data: first\n\n');
      await note(name);
      yield encoded('data: second\n\n');
    })()),
  }),
  '/tell'(request, { name }) {
    note(name).keep('told');
    return { status: 204 };
  },
  '/heard': async (request, { name }) => new Response(await note(name)),
  '/endless'(request, { name }) {
    left(request, name);
    let at = 0;
    return new Response(new ReadableStream({
      pull(controller) {
        controller.enqueue(pattern(at, 50_000));
        at += 50_000;
      },
    }));
  },
  async '/swallow'(request, { name }) {
    left(request, name);
    for await (const chunk of request.body) note(`${name}-begun`).keep('begun');
    return new Response('swallowed');
  },
  async '/later'(request, { name, ...query }) {
    left(request, `${name}-over`);
    note(`${name}-begun`).keep('begun');
    await note(name);
    return digest(request, query);
  },
  async '/slow'() {
    await sleep(Math.random() * 100);
    return new Response('slow');
  },
  '/fail'() {
    throw new Error('as the test wants it');
  },
  '/fail-later': (request, { length }) => ({
    headers: length ? { 'content-length': '100000' } : {},
    body: streamOf((async function* () {
      yield pattern(0, 50_000);
      throw new Error('as the test wants it');
    })()),
  }),
  '/chat'(request, query) {
    if (query.name) left(request, query.name);
    const [protocol] = (request.headers['sec-websocket-protocol'] ?? '').split(/, */);
    const response = { status: 101, headers: protocol ? { 'sec-websocket-protocol': protocol } : {} };
    response.body = streamOf(chat(request, query, response));
    return response;
  },
  '/refuse': () => ({ status: 403, headers: { 'x-refused': 'yes' }, body: 'no WebSockets here' }),
};
