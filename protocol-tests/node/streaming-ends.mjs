// The ends of the streaming suite: each runs the same app in a process of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium, openTab } from './browser.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const PYTHON = here('../../target/python/latest/bin/python');
const noPython = !existsSync(PYTHON) && 'run scripts/test once';
const browser = chromium();
const noBrowser = browser === undefined && !process.env.CI && 'Chromium is not installed: scripts/chromium installs it';

const node = (...client) => ({ start: (t, url) => run(t, process.execPath, [here('streaming-app.mjs'), ...client, url]) });
const python = (kind) => ({
  skip: noPython,
  start: (t, url) => run(t, PYTHON, [here('../python/streaming_app.py'), kind, url]),
});

/** The kinds of ends. `start(t, url)` starts one for the tunnel at a namespace's URL, and returns an `End`. */
export const ENDS = {
  'socket.io-client 4.8.4': node('socket.io-client', 'websocket'),
  'socket.io-client 4.8.4, polling': node('socket.io-client', 'polling'),
  'socket.io-client 2.5.0': node('socket.io-client-2.5.0', 'websocket'),
  'socket.io-client 1.7.4': node('socket.io-client-1.7.4', 'websocket'),
  'python-socketio, AsyncClient': python('async'),
  'python-socketio, Client': python('sync'),
  'python-socketio, Client, whose threads begin late': python('late'),
  'a browser tab': { skip: noBrowser, start: tab },
};

/** An end that ends with its test. It says `connected` and `disconnected`. */
class End {
  #said = { connected: 0, disconnected: 0 };
  #waiting = [];

  says(line) {
    if (!Object.hasOwn(this.#said, line)) return;
    this.#said[line] += 1;
    this.#waiting.splice(0).forEach(({ resolve }) => resolve());
  }

  /** The program has ended: nothing is said any more. */
  ended(code) {
    this.#waiting.splice(0).forEach(({ reject }) => reject(new Error(`the end's program ended with ${code}`)));
  }

  #more() {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Waits until the end has connected this often. */
  async connected(times) {
    while (this.#said.connected < times) await this.#more();
  }

  /** Cuts the end's connections until its session is lost: one that polls may have none just then. */
  async lose(cut) {
    const before = this.#said.disconnected;
    const timer = setInterval(cut, 20);
    cut();
    while (this.#said.disconnected === before) await this.#more();
    clearInterval(timer);
  }
}

function run(t, command, args) {
  const end = new End();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', process.env.STREAMING_DEBUG ? 'inherit' : 'ignore'] });
  const exited = once(child, 'exit');
  t.after(() => {
    child.kill('SIGKILL');
    return exited;
  });
  exited.then(([code, signal]) => end.ended(code ?? signal));
  createInterface({ input: child.stdout }).on('line', (line) => end.says(line));
  return end;
}

const FILES = {
  '/': ['text/html', () => '<script src="socket.io.js"></script><script type="module" src="streaming-tab.mjs"></script>'],
  '/socket.io.js': ['text/javascript', () => readFileSync(here('node_modules/socket.io-client/dist/socket.io.min.js'))],
  '/streaming-tab.mjs': ['text/javascript', () => readFileSync(here('streaming-tab.mjs'))],
  '/stream.js': ['text/javascript', () => readFileSync(here('../../examples/streaming/browser/stream.js'))],
};

async function tab(t, url) {
  const end = new End();
  const site = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://site');
    end.says(pathname.slice(1));
    const [type, read] = FILES[pathname] ?? ['text/plain', () => ''];
    response.setHeader('content-type', type);
    response.end(read());
  });
  await once(site.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    site.closeAllConnections();
    site.close();
  });
  const page = await openTab(t, browser);
  await page.open(`http://127.0.0.1:${site.address().port}/?end=${encodeURIComponent(url)}`);
  return end;
}
