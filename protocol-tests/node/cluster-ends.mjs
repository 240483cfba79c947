// Ends of a cluster: official clients of three generations, python-socketio, and `forward` with an app behind it.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import { Ended, folder, Process, until } from './cluster-processes.mjs';
import { binary, connected, TRANSPORTS } from './support.mjs';

const require = createRequire(import.meta.url);
const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const PYTHON = process.env.SOCKET2ME_PYTHON ?? here('../../target/python/latest/bin/python');

const PATTERN = Buffer.alloc(251 * 256, Uint8Array.from({ length: 251 }, (_, index) => index));

/** What an end answers that is not `forward`. */
function answer({ method, url, body }, respond) {
  const isEmpty = body === undefined || body === null || body.length === 0 || body.byteLength === 0 || Object.keys(body).length === 0;
  respond(200, isEmpty ? `${method} ${url}` : body);
}

/** An official client. */
function official(name) {
  const library = require(name);
  const io = library.io ?? library;
  return async (t, url, token, transport) => {
    const options = { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 200, ...TRANSPORTS[transport] };
    const end = io(`${url}/${token}`, { ...options, autoConnect: false });
    t.after(() => end.disconnect());
    end.on('request', answer);
    end.connect();
    await connected(end);
    if (transport === 'upgrade') await until('upgrade', () => end.io.engine.transport.name === 'websocket');
    return { transport: () => end.io.engine.transport.name };
  };
}

async function python(t, url, token, transport) {
  const command = [PYTHON, here('../python/cluster_end.py'), url, token, ...(TRANSPORTS[transport].transports ?? [])];
  const end = new Process(t, command);
  end.start();
  await until('python-socketio that has connected', () => {
    if (!end.isRunning) throw new Ended(end.log);
    return end.log.includes('connected ');
  });
  return { transport: () => (transport === 'polling' ? 'polling' : 'websocket') };
}

/** The ends of whole answers: `start(t, url, token, transport)` returns once the end has joined. */
export const ENDS = {
  'socket.io-client 1.4.8': { start: official('socket.io-client-1.4.8') },
  'socket.io-client 2.5.0': { start: official('socket.io-client-2.5.0') },
  'socket.io-client 4.8.4': { start: official('socket.io-client') },
  'python-socketio': { skip: !existsSync(PYTHON) && 'run scripts/test once', start: python },
};

/** Returns the hash of what `/bytes?size=` answers. */
export function digestOf(size) {
  const hash = createHash('sha256');
  for (let left = size; left > 0; left -= PATTERN.length) hash.update(PATTERN.subarray(0, Math.min(left, PATTERN.length)));
  return hash.digest('hex');
}

/** Writes bytes to a stream, no faster than they are taken. */
export async function write(stream, size) {
  for (let left = size; left > 0; left -= PATTERN.length) {
    if (!stream.write(PATTERN.subarray(0, Math.min(left, PATTERN.length)))) await once(stream, 'drain');
  }
  stream.end();
}

/** An app that streams: large bodies in both directions, events, and WebSockets. `emit(text)` sends an event to all who listen. */
export async function app(t) {
  const listeners = new Set();
  const routes = {
    '/hello': (request, response) => response.end(`hello ${request.method}`),
    '/bytes': (request, response, { size }) => write(response, Number(size)),
    async '/digest'(request, response) {
      const hash = createHash('sha256');
      for await (const chunk of request) hash.update(chunk);
      response.end(hash.digest('hex'));
    },
    '/events'(request, response) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: first\n\n');
      listeners.add(response);
      response.on('close', () => listeners.delete(response));
    },
    '/headers': (request, response) => response.end(JSON.stringify(request.rawHeaders)),
  };
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://app');
    routes[pathname](request, response, Object.fromEntries(searchParams));
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    port: server.address().port,
    listeners,
    emit: (text) => listeners.forEach((response) => response.write(`data: ${text}\n\n`)),
  };
}

/** `socket2me forward` to a port. Returns the path of its tunnel once visitors can come. */
export async function forward(t, url, port) {
  const dir = folder(t);
  const flags = ['--ephemeral', '--server', url, '--output', 'json', '--hold', '10s'];
  const end = new Process(t, [binary(), 'forward', ...flags, port], { HOME: dir, XDG_STATE_HOME: dir, XDG_RUNTIME_DIR: dir });
  end.start();
  const path = await until('forward that has connected', () => {
    if (!end.isRunning) throw new Ended(end.log);
    return /\/go\/[\w-]+/.exec(end.log)?.[0];
  });
  return { path, end };
}
