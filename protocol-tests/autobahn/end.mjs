// An end for WebSocket visitors of the Autobahn suite: node end.mjs URL raw ADDRESS, or node end.mjs URL messages
//
// In raw mode it passes bytes on to a WebSocket server at ADDRESS, and knows nothing of WebSockets; in messages mode it echoes.

import { createRequire } from 'node:module';
import net from 'node:net';
import { stream } from '../../examples/streaming/node/stream.mjs';

const [url, ws, address] = process.argv.slice(2);
const { io } = createRequire(new URL('../node/', import.meta.url))('socket.io-client');
const socket = io(url, { auth: { stream: { version: 1, window: 4 << 20, ws } }, transports: ['websocket'] });
socket.on('ready', () => console.log('ready'));

if (ws === 'raw') socket.on('request', pass);
else stream(socket, echo);

async function echo(request, response) {
  response.head(101);
  for await (const message of request.body) response.write(message);
  if (request.closed) response.closing = request.closed;
  response.end();
}

const open = new Map();
socket.on('data', (id, bytes, offset, ack) => { if (open.has(id)) open.get(id).write(bytes, ack); else ack(); });
socket.on('end', (id) => open.get(id)?.end());
socket.on('abort', (id) => open.get(id)?.destroy());

/** Passes a visitor's connection on to the local server. */
function pass(request) {
  const { id, url: path, headers } = request;
  const [host, port] = address.split(':');
  const local = net.connect(Number(port), host);
  const lines = Object.entries({ ...headers, host: address, connection: 'Upgrade', upgrade: 'websocket' });
  local.write(`GET ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  let head = '', sent = 0, unacked = 0, { window } = request;
  const send = (bytes) => {
    for (let at = 0; at < bytes.length; at += 65_536) {
      const part = bytes.subarray(at, at + 65_536), cost = part.length + 256;
      unacked += cost;
      socket.emit('data', id, part, sent, (raised = window) => {
        [unacked, window] = [unacked - cost, raised];
        if (unacked < window / 2) local.resume();
      });
      sent += part.length;
    }
    // What was read goes out, within a window that is far larger than what one read brings.
    if (unacked >= window / 2) local.pause();
  };
  const answer = (bytes) => {
    head += bytes.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    const [first, ...rest] = head.slice(0, end).split('\r\n');
    const pairs = rest.map((line) => line.split(/:\s*/, 2).map((text, index) => (index ? text : text.toLowerCase())));
    local.off('data', answer).on('data', send);
    open.set(id, local);
    socket.emit('response', id, Number(first.split(' ')[1]), Object.fromEntries(pairs));
    if (head.length > end + 4) send(Buffer.from(head.slice(end + 4), 'latin1'));
  };
  local.on('data', answer);
  local.on('end', () => socket.emit('end', id, sent));
  local.on('error', () => socket.emit('abort', id, 'local-gone'));
  local.on('close', () => open.delete(id));
}
