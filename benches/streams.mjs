// What streaming costs beside plain acks, and what the relay adds to an event stream, with the official client as the end:
// `scripts/bench streams` runs this. Prints a table for each, of the medians of all rounds.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { stream } from '../examples/streaming/node/stream.mjs';

const { io } = createRequire(new URL('../protocol-tests/node/package.json', import.meta.url))('socket.io-client');
const [binary, core] = process.argv.slice(2), [rounds, seconds] = process.argv.slice(4).map(Number);
const MIB = 1 << 20, body = Buffer.alloc(MIB, 'x'), EVENTS = 300;
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
const agent = new http.Agent({ keepAlive: true });

const command = ['--log', 'error', 'serve', '--listen', '127.0.0.1:0', '--store', 'memory', '--throttle-interval-ms', '0'];
const server = spawn('taskset', ['-c', core, binary, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
process.on('exit', () => server.kill());
const [ready] = await once(createInterface(server.stdout), 'line');
const url = ready.match(/http:\/\/[^ ]+/)[0];
// Clock ticks of the server, of 10 ms each.
const ticks = () => readFileSync(`/proc/${server.pid}/stat`, 'latin1').split(') ')[1].split(' ').slice(11, 13).reduce((sum, part) => sum + Number(part), 0);

// Joins a new tunnel, and calls `prepare` before it hears anything.
async function join(auth, prepare) {
  const token = await (await fetch(url + '/new')).text();
  const socket = io(`${url}/${token}`, { auth, transports: ['websocket'], forceNew: true });
  prepare(socket);
  await once(socket, 'connect');
  return { socket, at: `${url}/go/${token}/` };
}

function get(target) {
  return new Promise((resolve, reject) => {
    http.get(target, { agent }, (response) => {
      let bytes = 0;
      response.on('data', (part) => (bytes += part.length)).on('end', () => resolve(bytes)).on('error', reject);
    }).on('error', reject);
  });
}

// Gets a body of 1 MiB again and again, two at a time. Returns MB a second, and milliseconds of the server's CPU time for each MiB.
async function throughput(target) {
  await get(target);
  const began = performance.now(), before = ticks(), until = began + seconds * 1000;
  let bytes = 0;
  const visitor = async () => {
    while (performance.now() < until) {
      const got = await get(target);
      if (got !== MIB) throw new Error(`${got} bytes of ${MIB}`);
      bytes += got;
    }
  };
  await Promise.all([visitor(), visitor()]);
  const took = performance.now() - began;
  return { speed: bytes / 1e3 / took, cpu: ((ticks() - before) * 10) / (bytes / MIB) };
}

// Reads an event stream whose events say when they were sent. Returns the median delay, in milliseconds.
function delay(target) {
  return new Promise((resolve, reject) => {
    const delays = [];
    http.get(target, (response) => {
      response.setEncoding('latin1').on('data', (text) => {
        for (const [, sent] of text.matchAll(/data: ([\d.]+)\n\n/g)) delays.push(performance.now() - Number(sent));
        if (delays.length >= EVENTS) {
          response.destroy();
          resolve(median(delays));
        }
      }).on('error', () => {});
    }).on('error', reject);
  });
}

async function sendEvents(response) {
  while (!response.destroyed) {
    response.write(`data: ${performance.now()}\n\n`);
    await sleep(5);
  }
}

const direct = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  sendEvents(response);
}).listen(0, '127.0.0.1');
await once(direct, 'listening');
const plain = await join({}, (socket) => {
  socket.on('request', (request, respond) => respond(200, body, { 'content-type': 'application/octet-stream' }));
});
const streaming = await join({ stream: { version: 1, window: 4 << 20 } }, (socket) => {
  stream(socket, (request, response) => {
    const isEvents = request.url === '/events';
    response.head(200, { 'content-type': isEvents ? 'text/event-stream' : 'application/octet-stream' });
    if (isEvents) return sendEvents(response);
    response.end(body);
  });
});

const works = { 'ack of 1 MiB': plain.at, 'streamed, 1 MiB': streaming.at };
const events = { direct: `http://127.0.0.1:${direct.address().port}/`, 'through the relay': `${streaming.at}events` };
const speeds = {}, delays = {};
for (let round = 0; round < rounds; round += 1) {
  for (const [name, target] of Object.entries(works)) (speeds[name] ??= []).push(await throughput(target));
  for (const [name, target] of Object.entries(events)) (delays[name] ??= []).push(await delay(target));
}
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
const spread = (numbers, digits) => `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)})`;
row('body', 'MB/s', 'CPU time of the server for each MiB, ms');
row('---', '---:', '---:');
for (const [name, found] of Object.entries(speeds)) row(name, spread(found.map(({ speed }) => speed), 0), spread(found.map(({ cpu }) => cpu), 2));
console.log();
row('event stream', 'p50 of an event, ms');
row('---', '---:');
for (const [name, found] of Object.entries(delays)) row(name, spread(found, 3));
process.exit();
