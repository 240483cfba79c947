// Chromium without a window, driven over its DevTools protocol.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const LISTENING = /^DevTools listening on (ws:\/\/\S+)/;

/** Returns the path of Chromium: `SOCKET2ME_CHROMIUM`, or one that is installed. `undefined` if there is none. */
export function chromium() {
  if (process.env.SOCKET2ME_CHROMIUM) return process.env.SOCKET2ME_CHROMIUM;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return folders.flatMap((folder) => NAMES.map((name) => path.join(folder, name))).find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Starts a browser with a profile of its own and perhaps more flags, which ends with the test. Returns a tab, whose `another` opens
 * one beside it.
 */
export async function openTab(t, binary, more = []) {
  const profile = mkdtempSync(path.join(tmpdir(), 'socket2me-chromium-'));
  const flags = [
    '--headless=new', '--remote-debugging-port=0', `--user-data-dir=${profile}`, '--no-first-run', '--disable-gpu',
    '--disable-dev-shm-usage', '--disable-breakpad', '--disable-background-networking', '--disable-component-update', '--no-proxy-server',
    // Chromium's sandbox does not start as root, as in a container. It opens pages of this test alone.
    ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ...more,
    'about:blank',
  ];
  // In a group of its own: its processes may outlive the first of them, and write into the profile. What it leaves in its folder for
  // temporary files goes with the profile.
  const options = { stdio: ['ignore', 'ignore', 'pipe'], detached: true, env: { ...process.env, TMPDIR: profile } };
  const child = spawn(binary, flags, options);
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGTERM');
    await exited;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  });
  const endpoint = await new Promise((resolve, reject) => {
    exited.then(([code]) => reject(new Error(`Chromium ended with ${code}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      const url = LISTENING.exec(line)?.[1];
      if (url) resolve(url);
    });
  });
  return tabOf(t, endpoint);
}

/** Opens a tab of the browser at this endpoint, over a connection of its own. */
async function tabOf(t, endpoint) {
  const socket = new WebSocket(endpoint, { perMessageDeflate: false });
  t.after(() => socket.terminate());
  await once(socket, 'open');
  const tab = new Tab(socket);
  await tab.attach();
  tab.another = () => tabOf(t, endpoint);
  return tab;
}

class Tab {
  #socket;
  #session;
  #next = 1;
  #calls = new Map();
  #listeners = new Map();
  #isLoggedOut = false;

  constructor(socket) {
    this.#socket = socket;
    socket.on('message', (data) => this.#receive(JSON.parse(data)));
  }

  #receive({ id, result, error, method, params }) {
    if (id === undefined) {
      for (const listener of this.#listeners.get(method) ?? []) listener(params);
      return;
    }
    const { resolve, reject } = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  call(method, params = {}) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    });
  }

  on(method, listener) {
    this.#listeners.set(method, [...(this.#listeners.get(method) ?? []), listener]);
  }

  async attach() {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    this.#session = sessionId;
    await this.call('Page.enable');
  }

  /** Answers each challenge for credentials with these. */
  async logInAs(username, password) {
    this.on('Fetch.requestPaused', ({ requestId }) => this.#goOn('Fetch.continueRequest', { requestId }));
    this.on('Fetch.authRequired', ({ requestId }) => this.#goOn('Fetch.continueWithAuth', {
      requestId,
      authChallengeResponse: { response: 'ProvideCredentials', username, password },
    }));
    await this.call('Fetch.enable', { handleAuthRequests: true });
  }

  /** Lets a request go on that waits. One that waits while `logOut` is called, such as that for an icon, goes on by itself. */
  async #goOn(method, params) {
    try {
      await this.call(method, params);
    } catch (error) {
      if (!this.#isLoggedOut) throw error;
    }
  }

  async logOut() {
    this.#isLoggedOut = true;
    await this.call('Fetch.disable');
  }

  /** Opens a page, as if its URL was typed, and waits until it is loaded. */
  async open(url) {
    const loaded = new Promise((resolve) => this.on('Page.loadEventFired', resolve));
    const { errorText } = await this.call('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await loaded;
  }

  /** Runs an expression in the page and returns its value, or what it rejects with as text. */
  async run(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', {
      expression, awaitPromise: true, returnByValue: true,
    });
    return exceptionDetails ? `threw ${exceptionDetails.exception?.description ?? exceptionDetails.text}` : result.value;
  }
}
