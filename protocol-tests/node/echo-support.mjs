// Starts `examples/echo.rs` and talks to it in the plainest way, so that the tests say byte by byte what they mean.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

const BINARY =
  process.env.SOCKET2ME_ECHO_BIN ?? fileURLToPath(new URL('../../target/debug/examples/echo', import.meta.url));

// The published suites give each test this long.
const PATIENCE = 2000;

export const PING_INTERVAL = 300;
export const PING_TIMEOUT = 200;

/** Waits for a promise, but not for ever. */
async function within(promise, what) {
  const timer = new AbortController();
  const late = sleep(PATIENCE, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: nothing in ${PATIENCE} ms`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** The example, running. */
export class Echo {
  /** `protocol` is `socket.io` or `engine.io`. */
  static async start(protocol) {
    const child = spawn(BINARY, ['--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const failed = once(child, 'error').then(([error]) => {
      throw new Error(`cannot start ${BINARY}: build it with "cargo build --example echo"`, { cause: error });
    });
    failed.catch(() => {});
    const [line] = await within(Promise.race([once(createInterface(child.stdout), 'line'), failed]), 'starting echo');
    const [, address] = /^listening on http:\/\/(\S+)$/.exec(line) ?? assert.fail(`unexpected line: ${line}`);
    return Object.assign(new Echo(), { child, url: `${address}/${protocol}/` });
  }

  async stop() {
    const exited = once(this.child, 'exit');
    this.child.kill();
    await exited;
  }

  /** A request on a connection of its own. Gives its status and its body as text. */
  async request(method, query, body, signal) {
    const request = http.request(`http://${this.url}?${query}`, { method, agent: false, signal });
    if (body !== undefined) request.setHeader('Content-Type', 'text/plain;charset=UTF-8');
    request.end(body);
    const exchange = async () => {
      const [response] = await once(request, 'response');
      response.setEncoding('utf8');
      return { status: response.statusCode, body: (await response.toArray()).join('') };
    };
    try {
      return await within(exchange(), `${method} ?${query}`);
    } finally {
      request.destroy();
    }
  }

  get(query, signal) {
    return this.request('GET', query, undefined, signal);
  }

  post(query, body) {
    return this.request('POST', query, body);
  }

  /** Opens a session over long-polling. Gives the query of its further requests. */
  async open() {
    const { status, body } = await this.get('EIO=4&transport=polling');
    assert.equal(status, 200);
    return `EIO=4&transport=polling&sid=${JSON.parse(body.slice(1)).sid}`;
  }

  websocket(query) {
    return new Socket(`ws://${this.url}?${query}`);
  }

  /** Opens a session over a WebSocket. Gives it after its handshake. */
  async openWebSocket() {
    const socket = this.websocket('EIO=4&transport=websocket');
    assert.match(await socket.next(), /^0\{/);
    return socket;
  }

  /** A WebSocket for the session of a query of `open`, ready to send. */
  async candidate(query) {
    const socket = this.websocket(query.replace('polling', 'websocket'));
    await within(once(socket.raw, 'open'), 'opening the candidate');
    return socket;
  }
}

/** A WebSocket that keeps what it receives until it is asked for it, from its first byte on. */
class Socket {
  #received = [];
  #wake = () => {};
  #over = false;

  constructor(url) {
    this.raw = new WebSocket(url, { perMessageDeflate: false });
    this.raw.on('message', (data, isBinary) => {
      this.#received.push(isBinary ? data : data.toString());
      this.#wake();
    });
    this.raw.on('error', () => {}); // followed by 'close'
    this.raw.on('close', () => {
      this.#over = true;
      this.#wake();
    });
  }

  send(data) {
    this.raw.send(data);
  }

  /** The next message: a string if it is text, a Buffer if it is binary. */
  async next() {
    while (this.#received.length === 0) {
      assert.ok(!this.#over, 'closed instead of sending a message');
      await within(new Promise((wake) => (this.#wake = wake)), 'a message');
    }
    return this.#received.shift();
  }

  /** Waits until the peer has closed it. Gives the messages that nobody had asked for. */
  async closed() {
    while (!this.#over) {
      await within(new Promise((wake) => (this.#wake = wake)), 'closing');
    }
    return this.#received;
  }
}

/**
 * The cases of Engine.IO that the suites of both protocols have. `works(socket)` shows that a WebSocket session is alive.
 */
export const engineIoCases = (echo, works) => ({
  async opensOverPolling() {
    const { status, body } = await echo().get('EIO=4&transport=polling');
    assert.equal(status, 200);
    checkHandshake(body, ['websocket']);
  },

  async refusesEioOverPolling() {
    assert.equal((await echo().get('transport=polling')).status, 400);
    assert.equal((await echo().get('EIO=abc&transport=polling')).status, 400);
  },

  async refusesTransportOverPolling() {
    assert.equal((await echo().get('EIO=4')).status, 400);
    assert.equal((await echo().get('EIO=4&transport=abc')).status, 400);
  },

  async refusesMethodOverPolling() {
    assert.equal((await echo().post('EIO=4&transport=polling')).status, 400);
    assert.equal((await echo().request('PUT', 'EIO=4&transport=polling')).status, 400);
  },

  async opensOverWebSocket() {
    const socket = echo().websocket('EIO=4&transport=websocket');
    checkHandshake(await socket.next(), []);
  },

  async refusesEioOverWebSocket() {
    assert.deepEqual(await echo().websocket('transport=websocket').closed(), []);
    assert.deepEqual(await echo().websocket('EIO=abc&transport=websocket').closed(), []);
  },

  async refusesTransportOverWebSocket() {
    assert.deepEqual(await echo().websocket('EIO=4').closed(), []);
    assert.deepEqual(await echo().websocket('EIO=4&transport=abc').closed(), []);
  },

  async heartbeatOverPolling() {
    const query = await echo().open();
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(await echo().get(query), { status: 200, body: '2' });
      assert.deepEqual(await echo().post(query, '3'), { status: 200, body: 'ok' });
    }
  },

  async pingTimeoutOverPolling() {
    const query = await echo().open();
    await sleep(PING_INTERVAL + PING_TIMEOUT);
    assert.equal((await echo().get(query)).status, 400);
  },

  async heartbeatOverWebSocket() {
    const socket = await echo().openWebSocket();
    for (let round = 0; round < 3; round++) {
      assert.equal(await socket.next(), '2');
      socket.send('3');
    }
  },

  async pingTimeoutOverWebSocket() {
    const socket = await echo().openWebSocket();
    assert.deepEqual(await socket.closed(), ['2']);
  },

  async closesOverPolling() {
    const query = await echo().open();
    const [polled, posted] = await Promise.all([echo().get(query), echo().post(query, '1')]);
    assert.deepEqual(polled, { status: 200, body: '6' });
    assert.deepEqual(posted, { status: 200, body: 'ok' });
    assert.equal((await echo().get(query)).status, 400);
  },

  async closesOverWebSocket() {
    const socket = await echo().openWebSocket();
    socket.send('1');
    assert.deepEqual(await socket.closed(), []);
  },

  async upgrades() {
    const query = await echo().open();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    assert.equal(await socket.next(), '3probe');
    assert.deepEqual(await echo().get(query), { status: 200, body: '6' });
    socket.send('5');
    await works(socket);
  },

  async ignoresPollsAfterUpgrade() {
    const query = await echo().open();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    socket.send('5');
    assert.equal((await echo().get(query)).status, 400);
    assert.equal(await socket.next(), '3probe');
    await works(socket);
  },

  async ignoresWebSocketsAfterUpgrade() {
    const query = await echo().open();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    assert.equal(await socket.next(), '3probe');
    socket.send('5');
    assert.deepEqual(await echo().websocket(query.replace('polling', 'websocket')).closed(), []);
    await works(socket);
  },
});

function checkHandshake(packet, upgrades) {
  assert.equal(packet[0], '0');
  const { sid, ...rest } = JSON.parse(packet.slice(1));
  assert.equal(typeof sid, 'string');
  assert.deepEqual(rest, {
    upgrades,
    pingInterval: PING_INTERVAL,
    pingTimeout: PING_TIMEOUT,
    maxPayload: 1_000_000,
  });
}
