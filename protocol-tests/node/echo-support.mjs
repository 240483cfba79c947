// Starts `examples/echo.rs` and speaks to it without a client library, so that the tests state every byte.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

const BINARY =
  process.env.SOCKET2ME_ECHO_BIN ?? fileURLToPath(new URL('../../target/debug/examples/echo', import.meta.url));

// How long to wait for one event, in milliseconds.
const PATIENCE = 10_000;

const TEXT_TYPE = 'text/plain;charset=UTF-8';
const BINARY_TYPE = 'application/octet-stream';

// The times of the echo example by default, as the published suites expect them.
const PING_INTERVAL = 300;
const PING_TIMEOUT = 200;
// For tests that are not about silence: no session ends because the machine stalls for a moment.
const PATIENT = ['--ping-timeout', '20000', '--connect-timeout', '20000'];

/** The differences between the revisions of Engine.IO that matter to the cases. */
export const REVISIONS = {
  3: {
    eio: 'EIO=3',
    serverPings: false,
    /** Packets as the body of a poll or a POST. */
    payload: (...packets) => packets.map((packet) => `${packet.length}:${packet}`).join(''),
    /** A binary message on a WebSocket: after its type in revision 3, alone in revision 4. */
    binary: (...bytes) => Buffer.from([4, ...bytes]),
    /** One heartbeat on a WebSocket. */
    async beat(socket) {
      await sleep(PING_INTERVAL);
      socket.send('2');
      assert.equal(await socket.next(), '3');
    },
    /** What the server sends before it closes a WebSocket that sends no heartbeat. */
    silence: [],
  },
  4: {
    eio: 'EIO=4',
    serverPings: true,
    payload: (...packets) => packets.join('\x1e'),
    binary: (...bytes) => Buffer.from(bytes),
    async beat(socket) {
      assert.equal(await socket.next(), '2');
      socket.send('3');
    },
    silence: ['2'],
  },
};

/** Waits for a promise; fails after `PATIENCE`. */
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

/** The echo example as a running process. */
export class Echo {
  /**
   * Starts the example. `protocol` is `socket.io` or `engine.io`. `greeting` is the packets that the server sends to a client
   * of this revision, unasked, once its session is open.
   */
  static async start(protocol, revision, greeting = [], flags = PATIENT) {
    const child = spawn(BINARY, ['--port', '0', ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const failed = once(child, 'error').then(([error]) => {
      throw new Error(`cannot start ${BINARY}: build it with "cargo build --example echo"`, { cause: error });
    });
    failed.catch(() => {});
    const [line] = await within(Promise.race([once(createInterface(child.stdout), 'line'), failed]), 'starting echo');
    const [, address] = /^listening on http:\/\/(\S+)$/.exec(line) ?? assert.fail(`unexpected line: ${line}`);
    return Object.assign(new Echo(), { child, protocol, url: `${address}/${protocol}/`, revision, greeting });
  }

  /** Starts another for the length of one test, with these flags alone. */
  async another(t, ...flags) {
    const echo = await Echo.start(this.protocol, this.revision, this.greeting, flags);
    t.after(() => echo.stop());
    return echo;
  }

  async stop() {
    const exited = once(this.child, 'exit');
    this.child.kill();
    await exited;
  }

  /** Sends a request on a connection of its own. Returns the status and the body: a Buffer if binary, else a string. */
  async request(method, query, body) {
    const request = http.request(`http://${this.url}?${query}`, { method, agent: false });
    if (body !== undefined) request.setHeader('Content-Type', Buffer.isBuffer(body) ? BINARY_TYPE : TEXT_TYPE);
    request.end(body);
    const exchange = async () => {
      const [response] = await once(request, 'response');
      const bytes = Buffer.concat(await response.toArray());
      const isBinary = response.headers['content-type'] === BINARY_TYPE;
      return { status: response.statusCode, body: isBinary ? bytes : bytes.toString() };
    };
    try {
      return await within(exchange(), `${method} ?${query}`);
    } finally {
      request.destroy();
    }
  }

  get(query) {
    return this.request('GET', query);
  }

  /** Sends a poll, and hangs up once the server holds it. Returns when the server has hung up too. */
  async cancelledPoll(query) {
    const { hostname, port, pathname } = new URL(`http://${this.url}`);
    const socket = connect(Number(port), hostname);
    const answered = once(socket, 'data').then(([data]) => assert.fail(`the cancelled poll was answered: ${data}`));
    answered.catch(() => {});
    socket.write(`GET ${pathname}?${query} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    // What was sent before requests that have been answered has been served too.
    for (let others = 0; others < 3; others++) await this.open();
    socket.end();
    await within(Promise.race([once(socket, 'close'), answered]), 'a cancelled poll');
  }

  post(query, body) {
    return this.request('POST', query, body);
  }

  /** Opens a session over long-polling. Returns the query for its further requests. */
  async open(extra = '') {
    const { eio, payload } = this.revision;
    const { status, body } = await this.get(`${eio}&transport=polling${extra}`);
    assert.equal(status, 200);
    return `${eio}&transport=polling&sid=${openPacket(body, payload).sid}`;
  }

  /** Opens a session over long-polling and polls the greeting. */
  async openGreeted() {
    const query = await this.open();
    if (this.greeting.length > 0) await this.polls(query, ...this.greeting);
    return query;
  }

  /** Polls, and expects exactly these packets. */
  async polls(query, ...packets) {
    assert.deepEqual(await this.get(query), { status: 200, body: this.revision.payload(...packets) });
  }

  async posts(query, ...packets) {
    assert.deepEqual(await this.post(query, this.revision.payload(...packets)), { status: 200, body: 'ok' });
  }

  websocket(query) {
    return new Socket(`ws://${this.url}?${query}`);
  }

  /** Opens a session over a WebSocket, and returns it after the handshake and the greeting. */
  async openWebSocket() {
    const socket = this.websocket(`${this.revision.eio}&transport=websocket`);
    assert.match(await socket.next(), /^0\{/);
    for (const packet of this.greeting) assert.equal(await socket.next(), packet);
    return socket;
  }

  /** Opens a WebSocket for the upgrade of the session that `query`, from `open`, names. */
  async candidate(query) {
    const socket = this.websocket(query.replace('polling', 'websocket'));
    await within(once(socket.raw, 'open'), 'opening the candidate');
    return socket;
  }
}

/** A WebSocket that keeps every message until the test asks for it. */
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

  /** Waits for the next message: a string if it is text, a Buffer if it is binary. */
  async next() {
    while (this.#received.length === 0) {
      assert.ok(!this.#over, 'closed instead of sending a message');
      await within(new Promise((wake) => (this.#wake = wake)), 'a message');
    }
    return this.#received.shift();
  }

  /** Waits until the peer has closed the WebSocket. Returns the messages that no test has taken. */
  async closed() {
    while (!this.#over) {
      await within(new Promise((wake) => (this.#wake = wake)), 'closing');
    }
    return this.#received;
  }
}

/** The cases of Engine.IO that the suites of both protocols share. `works(socket)` checks that a session is alive. */
export const engineIoCases = (revision, echo, works) => ({
  async opensOverPolling(t) {
    const { status, body } = await (await echo().another(t)).get(`${revision.eio}&transport=polling`);
    assert.equal(status, 200);
    checkHandshake(openPacket(body, revision.payload), ['websocket']);
  },

  async refusesEioOverPolling() {
    assert.equal((await echo().get('transport=polling')).status, 400);
    assert.equal((await echo().get('EIO=abc&transport=polling')).status, 400);
  },

  async refusesTransportOverPolling() {
    assert.equal((await echo().get(revision.eio)).status, 400);
    assert.equal((await echo().get(`${revision.eio}&transport=abc`)).status, 400);
  },

  async refusesMethodOverPolling() {
    assert.equal((await echo().post(`${revision.eio}&transport=polling`)).status, 400);
    assert.equal((await echo().request('PUT', `${revision.eio}&transport=polling`)).status, 400);
  },

  async opensOverWebSocket(t) {
    const socket = (await echo().another(t)).websocket(`${revision.eio}&transport=websocket`);
    checkHandshake(openPacket(await socket.next()), []);
  },

  async refusesEioOverWebSocket() {
    assert.deepEqual(await echo().websocket('transport=websocket').closed(), []);
    assert.deepEqual(await echo().websocket('EIO=abc&transport=websocket').closed(), []);
  },

  async refusesTransportOverWebSocket() {
    assert.deepEqual(await echo().websocket(revision.eio).closed(), []);
    assert.deepEqual(await echo().websocket(`${revision.eio}&transport=abc`).closed(), []);
  },

  async heartbeatOverPolling() {
    if (revision.serverPings) {
      const query = await echo().openGreeted();
      for (let round = 0; round < 3; round++) {
        await echo().polls(query, '2');
        await echo().posts(query, '3');
      }
    } else {
      const query = await echo().open();
      for (const before of [echo().greeting, [], []]) {
        await echo().posts(query, '2');
        await echo().polls(query, ...before, '3');
      }
    }
  },

  async pingTimeoutOverPolling(t) {
    const impatient = await echo().another(t);
    const query = await impatient.open();
    await sleep(PING_INTERVAL + PING_TIMEOUT);
    const beat = revision.payload(revision.serverPings ? '3' : '2');
    const [polled, posted] = await Promise.all([impatient.get(query), impatient.post(query, beat)]);
    assert.deepEqual([polled.status, posted.status], [400, 400]);
  },

  async heartbeatOverWebSocket() {
    const socket = await echo().openWebSocket();
    for (let round = 0; round < 3; round++) await revision.beat(socket);
  },

  async pingTimeoutOverWebSocket(t) {
    const socket = await (await echo().another(t)).openWebSocket();
    assert.deepEqual(await socket.closed(), revision.silence);
  },

  async closesOverPolling() {
    const query = await echo().openGreeted();
    await Promise.all([echo().polls(query, '6'), echo().posts(query, '1')]);
    assert.equal((await echo().get(query)).status, 400);
  },

  async closesOverWebSocket() {
    const socket = await echo().openWebSocket();
    socket.send('1');
    assert.deepEqual(await socket.closed(), []);
  },

  async upgrades() {
    const query = await echo().openGreeted();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    assert.equal(await socket.next(), '3probe');
    await echo().polls(query, '6');
    socket.send('5');
    await works(socket);
  },

  async ignoresPollsAfterUpgrade() {
    const query = await echo().openGreeted();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    socket.send('5');
    assert.equal((await echo().get(query)).status, 400);
    assert.equal(await socket.next(), '3probe');
    await works(socket);
  },

  async ignoresWebSocketsAfterUpgrade() {
    const query = await echo().openGreeted();
    const socket = await echo().candidate(query);
    socket.send('2probe');
    assert.equal(await socket.next(), '3probe');
    socket.send('5');
    assert.deepEqual(await echo().websocket(query.replace('polling', 'websocket')).closed(), []);
    await works(socket);
  },
});

/** Parses an open packet, which must be the whole body or message. */
function openPacket(body, payload = (packet) => packet) {
  const packet = body.slice(body.indexOf('0{'));
  assert.equal(body, payload(packet));
  return JSON.parse(packet.slice(1));
}

function checkHandshake({ sid, ...rest }, upgrades) {
  assert.equal(typeof sid, 'string');
  assert.deepEqual(rest, {
    upgrades,
    pingInterval: PING_INTERVAL,
    pingTimeout: PING_TIMEOUT,
    maxPayload: 1_000_000,
  });
}
