// The real binary, the official client and a plain HTTP visitor. Everything started here ends with its test.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { check, forget, saw } from './access-log.mjs';

/** The transports of an end; `upgrade` is the client's default, which begins with polling. */
export const TRANSPORTS = {
  polling: { transports: ['polling'] },
  websocket: { transports: ['websocket'] },
  upgrade: {},
};

const STOP_LIMIT_MS = 15_000;
/** A key, or a token of the form that the server makes. */
const SECRET = /s2m_[0-9A-Za-z]{43}|\b[0-9A-Za-z]{48}\b/;

/** Returns the binary under test: `SOCKET2ME_BIN`, or the one that was built last. */
export function binary() {
  const built = ['release', 'debug'].map((profile) =>
    fileURLToPath(new URL(`../../target/${profile}/socket2me`, import.meta.url)));
  const [newest] = built.filter(existsSync).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const path = process.env.SOCKET2ME_BIN ?? newest;
  if (path === undefined) throw new Error('no binary: run `cargo build --release`, or set SOCKET2ME_BIN');
  return path;
}

/**
 * Starts a server that stops, with its ends, after the test. `client` is the `io` function of its ends, `ca` the certificate that a
 * server which speaks TLS is known by.
 */
export async function serve(t, flags = [], { env = {}, port = 0, client = io, store = 'memory', ca } = {}) {
  const server = new Server(['--store', store, ...flags], env, port, client, ca);
  t.after(() => server.stop());
  await server.ready();
  return server;
}

class Server {
  #child;
  #log = '';
  #ends = [];
  #stopped;
  #client;
  #tls;

  constructor(flags, env, port, client, ca) {
    this.#client = client;
    this.#tls = ca === undefined ? {} : { ca };
    const args = ['--log', 'debug', '--log-format', 'json', 'serve', '--listen', `127.0.0.1:${port}`, ...flags];
    // Without this process's environment: variables such as PORT are settings of the server.
    this.#child = spawn(binary(), args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (text) => { this.#log += text; });
    // With its log whole.
    this.exited = once(this.#child, 'close');
  }

  async ready() {
    const lines = createInterface({ input: this.#child.stdout });
    const line = await Promise.race([
      once(lines, 'line').then(([line]) => line),
      this.exited.then(([code]) => { throw new Error(`the server ended with ${code}:\n${this.#log}`); }),
    ]);
    const { message, url } = JSON.parse(line);
    if (message !== 'Socket2Me is ready') throw new Error(`no start-up line but: ${line}`);
    this.url = url;
    this.port = Number(new URL(this.url).port);
  }

  /** Disconnects the ends and stops the server by SIGTERM. */
  async stop() {
    for (const end of this.#ends) end.disconnect();
    return this.terminate();
  }

  /** Ends the server at once, as a crash does, with its ends still connected. */
  async kill() {
    this.#stopped = this.exited;
    this.#child.kill('SIGKILL');
    await this.exited;
    forget(this.port);
  }

  /** Stops the server by SIGTERM with its ends still connected. It must exit with 0 within `STOP_LIMIT_MS`. */
  terminate() {
    this.#stopped ??= this.#terminate();
    return this.#stopped;
  }

  async #terminate() {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_LIMIT_MS);
    const [code, signal] = await this.exited;
    clearTimeout(timer);
    const secret = SECRET.exec(this.#log);
    if (secret) throw new Error(`the log has a key or a whole token: ${this.#log.slice(Math.max(0, secret.index - 200), secret.index + 60)}`);
    if (code !== 0) throw new Error(`after SIGTERM the server ended with ${signal ?? code}:\n${this.#log.slice(-4000)}`);
    check(this.#log, this.port);
    // The next server at this port has a log of its own.
    forget(this.port);
  }

  async token() {
    const answer = await visit(`${this.url}/new`, this.#tls);
    if (answer.status !== 200) throw new Error(`no token: ${answer.status} ${answer.text}`);
    return answer.text;
  }

  /** Creates an end without waiting for its connect. `via` is another URL of this server, `client` another `io`. */
  socket(token, options = {}, via = this.url, client = this.#client) {
    const quick = { reconnectionDelay: 20, reconnectionDelayMax: 50 };
    const end = client(`${via}/${token}`, { forceNew: true, ...quick, ...this.#tls, ...options });
    this.#ends.push(end);
    return end;
  }

  /** Connects an end that answers requests with `handler`. */
  async end(token, options, handler, via) {
    const end = this.socket(token, options, via);
    if (handler) end.on('request', handler);
    await connected(end);
    return end;
  }

  visit(token, path = '', options) {
    return visit(`${this.url}/go/${token}${path}`, { ...this.#tls, ...options });
  }
}

/** Prepares an HTTP request on a connection of its own. `answer` is a promise; `request` allows a test to cut it. */
export function visitor(url, { body, ...options } = {}) {
  const { request: open } = `${url}`.startsWith('https:') ? https : http;
  const request = open(url, { agent: false, ...options });
  const begun = performance.now();
  const sent = body === undefined ? undefined : Buffer.byteLength(body);
  const collected = async (response) => {
    const answer = await collect(response);
    saw(url, request, answer, sent, performance.now() - begun);
    return answer;
  };
  const answer = new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => collected(response).then(resolve, reject));
  });
  // A test that cuts the request does not wait for the answer.
  answer.catch(() => {});
  return { request, answer, end: () => request.end(body) };
}

export function visit(url, options) {
  const { answer, end } = visitor(url, options);
  end();
  return answer;
}

/** Returns a tunnel's URL by its path, also of the one at its own host, which not every system can look up. */
export function byPath(url, server) {
  if (new RegExp(`^${server.url}/go/[\\w-]+$`).test(url)) return url;
  const [, label] = new RegExp(`^http://([^.]+)\\.localhost:${server.port}$`).exec(url) ?? assert.fail(`no URL of a tunnel: ${url}`);
  return `${server.url}/go/${label.length === 36 ? Buffer.from(label).toString('base64') : label}`;
}

async function collect(response) {
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const { statusCode: status, headers, rawHeaders } = response;
  return { status, headers, rawHeaders, body, text: body.toString() };
}

/** Waits for an event of a socket.io emitter whose arguments satisfy `accept`, and returns them. */
export function event(emitter, name, accept = () => true) {
  return new Promise((resolve) => {
    const listener = (...args) => {
      if (!accept(...args)) return;
      emitter.off(name, listener);
      resolve(args);
    };
    emitter.on(name, listener);
  });
}

export async function connected(end) {
  if (end.connected) return;
  await new Promise((resolve, reject) => {
    end.once('connect', resolve);
    end.once('connect_error', reject);
  });
}

/** Collects the requests that reach an end, for tests that answer them later. */
export function inbox(end) {
  const arrived = [];
  const waiting = [];
  end.on('request', (request, respond) => {
    const take = waiting.shift();
    if (take) take({ request, respond });
    else arrived.push({ request, respond });
  });
  return {
    next: () => (arrived.length > 0
      ? Promise.resolve(arrived.shift())
      : new Promise((resolve) => waiting.push(resolve))),
    get unread() { return arrived.length; },
  };
}
