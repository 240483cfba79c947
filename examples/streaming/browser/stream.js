// An end that streams, in a browser tab with socket.io-client 3 or 4: a file to copy. PROTOCOL.md has the protocol.

/**
 * Calls `await handler(request)` for each request that reaches a socket, and sends the Response that it returns.
 *
 * The socket must have asked: `io(url, { auth: { stream: { version: 1, window: 1 << 20 } } })`. The window is what the
 * server may send of one body unacked.
 *
 * - `request` is the event's object. `request.body` is a ReadableStream of Uint8Arrays, and after the last `request.trailers`
 *   may be there. When the visitor leaves, or the session is lost, it breaks, `request.signal` is aborted, and the response's
 *   stream is cancelled.
 * - In place of a Response, which cannot have every header, the handler may return `{ status, headers, body, trailers }`. The
 *   body is a ReadableStream, or anything that a Response can be made of.
 * - A handler that returns `[status, body, headers]` answers at once and whole.
 * - A handler that throws, and a stream that breaks, give the visitor 502, or a transfer that breaks if it has begun.
 *
 * For a WebSocket `request.upgrade` is `'websocket'`, and both streams are of messages: strings and Uint8Arrays. The handler
 * returns `{ status: 101, body }` to accept it; any other status refuses it. After the visitor's last message
 * `request.closed` is its `[code, reason]`, and after the body's last the object's `closing` is sent, the end's own.
 */
export function stream(socket, handler) {
  // Until the server says `ready`, the smallest that it can say holds.
  const exchanges = new Map(), limits = { chunk: 256 };
  // Each part is acked, whatever became of its exchange.
  const take = (id, ack, ...part) => (exchanges.has(id) ? exchanges.get(id).take(ack, ...part) : ack());
  const drop = (id, reason) => exchanges.get(id)?.leave(new Error(reason));
  socket.on('ready', (ready) => Object.assign(limits, ready));
  socket.on('data', (id, bytes, offset, ack) => take(id, ack, offset, bytes.byteLength, bytes));
  socket.on('message', (id, part, more, number, ack) => take(id, ack, number, 1, part, more));
  socket.on('end', (id, bytes, trailers) => take(id, () => {}, bytes, 0, null, false, { trailers }));
  socket.on('close', (id, parts, ...closed) => take(id, () => {}, parts, 0, null, false, { closed }));
  socket.on('abort', drop);
  // The client keeps what is emitted while it has no session, and sends it in the next one: nothing is emitted any more.
  socket.on('disconnect', () => [...exchanges.keys()].forEach((id) => drop(id, 'disconnected')));
  socket.on('request', async (request, respond) => {
    const exchange = new Exchange(socket, limits, request, () => exchanges.delete(request.id));
    exchanges.set(request.id, exchange);
    try {
      const answer = await handler(request);
      if (!Array.isArray(answer)) await exchange.answer(answer);
      else if (exchanges.has(request.id)) exchange.leave(respond(...answer));
    } catch (error) {
      exchange.abort(error);
    }
  });
}

const encoder = new TextEncoder();
// Without `ignoreBOM` it would drop a U+FEFF at the start.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

class Exchange {
  #socket;
  #limits;
  #request;
  #forget;
  #gone = new AbortController();
  #isOver = false;
  #isLeft = false;
  #input;
  #held = [];
  #parts = [];
  #received = 0;
  #reader;
  #window;
  #sent = 0;
  #unacked = 0;
  #wake = () => {};

  constructor(socket, limits, request, forget) {
    this.#socket = socket;
    this.#limits = limits;
    this.#request = request;
    this.#forget = forget;
    this.#window = request.window;
    const { body, streamed, upgrade } = request;
    request.signal = this.#gone.signal;
    request.body = new ReadableStream({
      start: (input) => { this.#input = input; },
      pull: () => this.#ack(),
      cancel: () => {
        this.#isLeft = true;
        this.#ack();
      },
    });
    if (streamed || upgrade) return;
    if (body?.byteLength > 0) this.#input.enqueue(new Uint8Array(body));
    this.#input.close();
  }

  #ack() {
    for (const ack of this.#held.splice(0)) ack();
  }

  take(ack, at, size, part, more, last) {
    this.#held.push(ack);
    if (at !== this.#received) return this.abort(new Error('out of order'), 'out-of-order');
    this.#received += size;
    Object.assign(this.#request, last);
    if (this.#isLeft) return this.#ack();
    if (part === null) return this.#input.close();
    this.#parts.push(part);
    if (!more) this.#input.enqueue(joined(this.#parts.splice(0)));
    // Acked while there is room for more; otherwise when the handler has read what came before.
    if (more || this.#input.desiredSize > 0) this.#ack();
  }

  async answer(response) {
    const { status = 200, headers = {}, body } = response, isWebSocket = status === 101;
    this.#emit('response', status, headers instanceof Headers ? Object.fromEntries(headers) : headers);
    this.#reader = (body instanceof ReadableStream ? body : new Response(body).body)?.getReader();
    for (let part; this.#reader && !(part = await this.#reader.read()).done;) await this.#send(part.value, isWebSocket);
    if (isWebSocket) this.#emit('close', this.#sent, ...(response.closing ?? [1000, '']));
    else this.#emit('end', this.#sent, response.trailers ?? {});
    this.leave();
  }

  async #send(item, isWebSocket) {
    const isText = typeof item === 'string';
    const bytes = isText ? encoder.encode(item) : item;
    for (let at = 0, to; to !== bytes.length; at = to) {
      to = Math.min(at + this.#limits.chunk, bytes.length);
      // Text is cut between characters.
      while (isText && (bytes[to] & 0xc0) === 0x80) to -= 1;
      const slice = bytes.subarray(at, to), cost = to - at + 256;
      while (!this.#isOver && this.#unacked > 0 && this.#unacked + cost > this.#window) {
        await new Promise((resolve) => { this.#wake = resolve; });
      }
      this.#unacked += cost;
      const part = isText ? decoder.decode(slice) : slice;
      const event = isWebSocket ? ['message', part, to < bytes.length] : ['data', part];
      this.#emit(...event, this.#sent, (raised = this.#window) => {
        this.#unacked -= cost;
        this.#window = raised;
        this.#wake();
      });
      this.#sent += isWebSocket ? 1 : to - at;
    }
  }

  #emit(event, ...rest) {
    if (!this.#isOver) this.#socket.emit(event, this.#request.id, ...rest);
  }

  abort(error, code = 'local-gone') {
    if (!this.#isOver) console.error(error);
    this.#emit('abort', code);
    this.leave(error);
  }

  /** Emits nothing more. Without an error the response has ended, and what is left of the request is dropped. */
  leave(error) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isLeft = true;
    this.#forget();
    this.#ack();
    this.#wake();
    this.#input.error(error ?? new Error('the response has ended'));
    if (!error) return;
    this.#gone.abort(error);
    this.#reader?.cancel(error).catch(() => {});
  }
}

/** Joins the parts of a message. */
function joined(parts) {
  if (typeof parts[0] === 'string') return parts.join('');
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(new Uint8Array(part), at);
    at += part.byteLength;
  }
  return whole;
}
