// An app on stream.mjs: a page, an event stream, an upload that is hashed while it arrives, and a WebSocket that echoes.
//
// In this folder: npm install && SOCKET2ME_SERVER=http://127.0.0.1:3000 node demo.mjs

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { stream } from './stream.mjs';

const server = process.env.SOCKET2ME_SERVER ?? 'http://127.0.0.1:3000';
const made = await fetch(`${server}/new`, { method: 'POST', headers: { 'Content-Type': 'application/json' } });
if (!made.ok) throw new Error(`no tunnel: ${made.status} ${await made.text()}`);
const { token, key, url } = await made.json();
const socket = io(`${server}/${token}`, { auth: { key, stream: { version: 1, window: 4 << 20 } } });
socket.on('connect', () => console.log(`public URL: ${url}`));
socket.on('connect_error', (error) => console.error(`cannot connect: ${error.message}`));

const PAGE = await readFile(new URL('../page.html', import.meta.url), 'utf8');
const routes = {
  '/'(request, response, respond) {
    respond(200, PAGE);
  },
  async '/events'(request, response) {
    response.head(200, { 'content-type': 'text/event-stream' });
    while (!response.destroyed) {
      response.write(`data: ${new Date().toISOString()}\n\n`);
      await sleep(1000);
    }
  },
  async '/hash'(request, response) {
    const hash = createHash('sha256');
    for await (const chunk of request.body) hash.update(chunk);
    response.head(200, { 'content-type': 'text/plain' });
    response.end(hash.digest('hex'));
  },
  async '/echo'(request, response) {
    response.head(request.upgrade === 'websocket' ? 101 : 426);
    for await (const message of request.body) response.write(message);
    response.end();
  },
};

stream(socket, (request, response, respond) =>
  (routes[request.url] ? routes[request.url](request, response, respond) : respond(404, 'nothing here')));
