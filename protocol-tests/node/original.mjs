// What the original server made of a request before it emitted its event: express 4 and its body parsers on Node's http.

import { once } from 'node:events';
import http from 'node:http';
import express from 'express';

const parsers = [express.json(), express.urlencoded({ extended: true })];

/** A request in express, whether or not the original served it. `target`, `lines` and `bytes` are what Node has read. */
function seen(req) {
  const { headers, method, httpVersion, url: target, query, body, params, sent } = req;
  const lines = Array.from({ length: req.rawHeaders.length / 2 }, (_, at) => req.rawHeaders.slice(2 * at, 2 * at + 2));
  return { headers, rawHeaders: lines, lines, method, url: params?.[0], query, body, httpVersion, target, bytes: Buffer.concat(sent) };
}

/** Runs the parsers on a body, and reads what none of them takes. The first error is kept in `unparsed`. */
async function parse(req, res) {
  req.sent = [];
  const push = req.push;
  // What arrives, before a parser inflates or drops it.
  req.push = (data, ...more) => {
    if (data !== null) req.sent.push(data);
    return push.call(req, data, ...more);
  };
  const ended = once(req, 'end');
  // A body that is not whole ends with its connection, when nobody may wait for it.
  ended.catch(() => {});
  for (const parser of parsers) {
    const error = await new Promise((resolve) => parser(req, res, resolve));
    req.unparsed ??= error;
  }
  if (!req.readableEnded) {
    req.resume();
    await ended;
  }
}

/** A request that Node could not read is refused once those before it on its connection are answered. */
async function refuse(error, socket) {
  // What follows a request that closes its connection is not read.
  if (error.code === 'HPE_CLOSED_CONNECTION' || !socket.writable || socket.isRefused) return;
  socket.isRefused = true;
  const answers = socket.answers ?? [];
  await Promise.all(answers.filter(({ req }) => req.complete).map((res) => res.writableFinished || once(res, 'close')));
  const status = { HPE_HEADER_OVERFLOW: 431, HPE_CHUNK_EXTENSIONS_OVERFLOW: 413 }[error.code] ?? 400;
  socket.end(`HTTP/1.1 ${status} x\r\nConnection: close\r\n\r\n`);
}

/**
 * Starts the reference for these tokens. Each request that Node can read becomes one of `events`, whose number is the answer's
 * `x-event`: `event` is the request, `route` the status of its route, and `unparsed` the error of a body parser, which the
 * original met before it looked for a route.
 */
export async function original(t, tokens) {
  const events = [];
  const answer = (req, res, route) => {
    const { status, type } = req.unparsed ?? {};
    const number = events.push({ event: seen(req), route, unparsed: req.unparsed && { status, type } }) - 1;
    res.status(status ?? route).set({ 'x-event': String(number), 'content-length': '0' }).end();
  };
  const app = express();
  app.use((req, res, next) => {
    (req.socket.answers ??= []).push(res);
    parse(req, res).then(() => next(), next);
  });
  const serve = (req, res) => answer(req, res, tokens.includes(req.params.token) ? 200 : 500);
  for (const method of ['get', 'put', 'post', 'delete']) app[method](['/go/:token', '/go/:token/*'], serve);
  app.use((req, res) => answer(req, res, 404));
  // express knows what handles errors by the four parameters.
  app.use((error, req, res, _next) => answer(req, res, error.status ?? 500));

  const server = http.createServer({ maxHeaderSize: 64 << 10, keepAliveTimeout: 0 }, app).on('clientError', refuse);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { events, port: server.address().port };
}
