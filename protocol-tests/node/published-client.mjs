// The original's published client, rebuilt from its documentation and behaviour: it keeps a public URL up by itself.

import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { visit } from './support.mjs';

const require = createRequire(import.meta.url);
const SIX_HOURS_MS = 6 * 60 * 60 * 1000;

/**
 * Events: `published` (url, token) when the URL can be visited, `disconnect` (reason), `unreachable` when a connect failed
 * and another follows, `refused` (message) when the server refuses the namespace, `refreshed` (status, text) after each
 * refresh.
 */
export class PublishedClient extends EventEmitter {
  #io;
  #server;
  #handler;
  #waitMs;
  #waiting;
  #refreshing;
  #stopped = false;
  /** The current socket; events of earlier ones are ignored. */
  #socket;
  #token;

  constructor(version, server, handler, { waitMs = 15_000, refreshMs = SIX_HOURS_MS } = {}) {
    super();
    this.#io = require(`socket.io-client-${version}`);
    this.#server = server;
    this.#handler = handler;
    this.#waitMs = waitMs;
    this.#refreshing = setInterval(() => this.#refresh(), refreshMs);
  }

  /** Asks for a token and connects with it. Without a token, tries again after the wait. */
  async start() {
    const token = await this.#newToken().catch(() => undefined);
    if (this.#stopped) return;
    if (token === undefined) this.#startLater();
    else this.connect(token);
  }

  connect(token) {
    const options = { reconnection: true, reconnectionAttempts: 15 };
    const socket = this.#io(`${this.#server}/${token}`, options);
    this.#socket = socket;
    this.#token = token;
    socket.on('request', this.#handler);
    socket.on('connect', () => this.emit('published', `${this.#server}/go/${token}`, token));
    socket.on('connect_error', () => this.emit('unreachable'));
    socket.on('disconnect', (reason) => {
      this.emit('disconnect', reason);
      socket.disconnect(true);
      if (this.#leave(socket)) this.#startLater();
    });
    socket.on('error', async (error) => {
      this.emit('refused', error);
      if (socket === this.#socket && !(await this.#refresh()) && this.#leave(socket)) this.start();
    });
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#waiting);
    clearInterval(this.#refreshing);
    this.#socket?.disconnect();
  }

  async #newToken() {
    const { status, text } = await visit(`${this.#server}/new`, { headers: { Accept: 'application/json' } });
    if (status !== 200) throw new Error(`no token: ${status} ${text}`);
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }

  async #refresh() {
    const answer = await visit(`${this.#server}/refresh/${this.#token}`).catch(({ message }) => ({ text: message }));
    this.emit('refreshed', answer.status, answer.text);
    return answer.status === 200;
  }

  /** Returns whether `socket` was the current one, so that `error` and the `disconnect` after it restart it only once. */
  #leave(socket) {
    if (this.#stopped || socket !== this.#socket) return false;
    this.#socket = undefined;
    return true;
  }

  #startLater() {
    this.#waiting = setTimeout(() => this.start(), this.#waitMs);
  }
}
