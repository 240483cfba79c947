// An end that streams, on the official client of any version from 1.7 to 4. Copy this file; PROTOCOL.md has the protocol.

import { Duplex } from 'node:stream';

/**
 * Calls `handler(request, response, respond)` for each request that reaches a socket.
 *
 * The socket must have asked: `io(url, { auth: { stream: { version: 1, window: 4 << 20 } } })`; clients 1 and 2, which have no
 * `auth`, by `io(url + '?stream=1&window=4194304')`. The window is what the server may send of one body unacked.
 *
 * - `request` is the event's object, and `request.body` an async iterable of bytes. After the last, `request.trailers` may be
 *   there.
 * - `response` is a Duplex, as the streams of `node:http2` are: it writes the response's body and reads the request's.
 *   `response.head(status, headers)` comes first. `response.trailers` are sent at the end.
 * - `respond(status, body, headers)` answers at once and whole, in place of `response`.
 * - A handler that throws, and a response that is destroyed, give the visitor 502, or a transfer that breaks if it has begun.
 *   The error's `code` may be one that the protocol has, such as `too-large`.
 * - A visitor that leaves, and a session that is lost, destroy the response: it emits `close`.
 *
 * For a WebSocket `request.upgrade` is `'websocket'`. `response.head(101)` accepts it, and any other status refuses it. From
 * then on both bodies are of messages, strings and Buffers. After the last, `request.closed` is the visitor's `[code,
 * reason]`. At its end the response sends its own, `response.closing`.
 */
export function stream(socket, handler) {
  // Until the server says `ready`, the smallest that it can say holds.
  const exchanges = new Map(), limits = { chunk: 256 };
  // Each part is acked, whatever became of its exchange.
  const take = (id, ack, ...part) => (exchanges.has(id) ? exchanges.get(id).take(ack, ...part) : ack());
  const drop = (id, code, exchange = exchanges.get(id)) => exchanges.delete(id) && exchange.destroy(new Error(code));
  socket.on('ready', (ready) => Object.assign(limits, ready));
  socket.on('data', (id, bytes, offset, ack) => take(id, ack, offset, bytes.length, bytes));
  socket.on('message', (id, part, more, number, ack) => take(id, ack, number, 1, part, more));
  socket.on('end', (id, bytes, trailers) => take(id, () => {}, bytes, 0, null, false, { trailers }));
  socket.on('close', (id, parts, ...closed) => take(id, () => {}, parts, 0, null, false, { closed }));
  socket.on('abort', (id, code) => drop(id, code));
  // The client keeps what is emitted while it has no session, and sends it in the next one: nothing is emitted any more.
  socket.on('disconnect', () => [...exchanges.keys()].forEach((id) => drop(id, 'disconnected')));
  socket.on('request', (request, respond) => {
    const { id, streamed, body } = request, objectMode = request.upgrade === 'websocket', parts = [], held = [];
    let { window } = request, received = 0, sent = 0, unacked = 0, wake;
    const response = new Duplex({
      objectMode,
      read: () => held.splice(0).forEach((ack) => ack()),
      async write(item, encoding, done) {
        const isSocket = response.status === 101, isText = typeof item === 'string', bytes = isText ? Buffer.from(item) : item;
        for (let at = 0, to; to !== bytes.length; at = to) {
          to = Math.min(at + limits.chunk, bytes.length);
          // Text is cut between characters.
          while (isText && (bytes[to] & 0xc0) === 0x80) to -= 1;
          const part = isText && isSocket ? bytes.toString('utf8', at, to) : bytes.subarray(at, to), cost = to - at + 256;
          while (unacked > 0 && unacked + cost > window) await new Promise((resolve) => { wake = resolve; });
          if (!exchanges.has(id)) return;
          const event = isSocket ? ['message', id, part, to < bytes.length] : ['data', id, part];
          socket.emit(...event, sent, (raised = window) => { [unacked, window] = [unacked - cost, raised]; wake?.(); });
          [unacked, sent] = [unacked + cost, sent + (isSocket ? 1 : to - at)];
        }
        done();
      },
      final(done) {
        const { status, closing = [1000, ''], trailers = {} } = response;
        socket.emit(...(status === 101 ? ['close', id, sent, ...closing] : ['end', id, sent, trailers]));
        done();
      },
      destroy(error, done) {
        if (exchanges.delete(id) && !response.writableFinished) socket.emit('abort', id, String(error?.code ?? 'local-gone'));
        response._read();
        done(error);
      },
    });
    // After the response, what is left of the body is dropped. After a WebSocket's, the visitor has still to close it.
    response.on('error', () => {}).on('finish', () => (response.status === 101 ? response.resume() : response.destroy()));
    response.head = (code, headers = {}) => exchanges.has(id) && socket.emit('response', id, response.status = code, headers);
    response.take = (ack, at, size, part, more, last) => {
      // The message that a WebSocket closes in the middle of is none.
      held.push(ack), parts.splice(0, part === null ? parts.length : 0), parts.push(part);
      if (at !== received) return response.destroy(Object.assign(new Error('out-of-order'), { code: 'out-of-order' }));
      received += size;
      Object.assign(request, last);
      // Acked while there is room for more; otherwise when the handler has read what came before.
      if (more || response.push(joined(parts.splice(0)))) response._read();
    };
    const whole = (...answer) => exchanges.delete(id) && response.destroy(respond(...answer));
    exchanges.set(id, response);
    request.body = response.iterator({ destroyOnReturn: false });
    if (!streamed && !objectMode) [body ?? '', null].forEach((part) => response.push(part));
    (async () => handler(request, response, whole))().catch((error) => response.destroy(error));
  });
}

const joined = (parts) => (parts.length < 2 ? parts[0] : typeof parts[0] === 'string' ? parts.join('') : Buffer.concat(parts));
