// Apps of the registries behind `socket2me serve` and `socket2me forward`, visited with Chromium: see scripts/apps.

import assert from 'node:assert';
import { fileURLToPath } from 'node:url';
import { chromium, openTab } from '../node/browser.mjs';
import { serve } from '../node/support.mjs';
import { APPS } from './apps.mjs';
import { Folder, startApp, startForward } from './programs.mjs';

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url));
const MODES = ['host', 'path'];
/** Time for a visit with all that it starts. */
const PATIENCE_MS = 180_000;
/** What is shown of a log if a visit fails. */
const LOG_LENGTH = 3_000;

/** What is to be ended: `after` takes functions, which `end` calls, the last first. */
class Scope {
  #functions = [];

  after(end) {
    this.#functions.unshift(end);
  }

  /** Calls all functions, and throws what the first one that fails has thrown. */
  async end() {
    const errors = [];
    for (const end of this.#functions.splice(0)) await Promise.resolve(end()).catch((error) => errors.push(error));
    if (errors.length) throw errors[0];
  }
}

/** Notes what the pages of a visit ask for. */
class Watch {
  sockets = [];
  /** Whether a WebSocket has brought something. */
  hasHeard = false;
  #asked = [];
  #url;

  constructor(url) {
    this.#url = url;
  }

  async tab(tab) {
    tab.on('Network.requestWillBeSent', ({ request }) => this.#asked.push(request.url));
    tab.on('Network.webSocketCreated', ({ url }) => {
      this.sockets.push(url);
      this.#asked.push(url.replace(/^ws/, 'http'));
    });
    tab.on('Network.webSocketFrameReceived', () => { this.hasHeard = true; });
    await tab.call('Network.enable');
    return tab;
  }

  /** Fails if a page has asked for something that is not the tunnel's. It is the browser that asks for an icon. */
  check() {
    const [origin, base] = [new URL(this.#url).origin, new URL(`${this.#url}/`).pathname.replace(/\/+$/, '')];
    const isOfTheTunnel = (url) => url.origin === origin && `${url.pathname}/`.startsWith(`${base}/`);
    const others = this.#asked.map((url) => new URL(url))
      .filter((url) => url.protocol === 'http:' && url.pathname !== '/favicon.ico' && !isOfTheTunnel(url));
    assert.deepStrictEqual(others.map(String), [], `the page asks for what is not below ${this.#url}`);
  }
}

/** Starts an app and its tunnel, and visits it. Throws what is wrong. */
async function visit(scope, name, mode, folder, isBare) {
  const app = { prepare: [], flags: [], env: {}, ...APPS[name], ...(isBare ? {} : APPS[name][mode]) };
  for (const command of app.prepare) folder.run(command, app.env);
  const { app: program, port } = await startApp(scope, folder, app.run, app.env);
  const server = await serve(scope);
  const { forward, url } = await startForward(scope, server, port, name, ['--url-mode', mode, ...app.flags]);
  try {
    const watch = new Watch(url);
    const tab = await watch.tab(await openTab(scope, chromium()));
    await app.visit({ tab, url, folder, watch });
    watch.check();
  } catch (error) {
    const log = ({ log }) => log.slice(-LOG_LENGTH).trim();
    throw new Error(`${error.message}\n-- the app has written:\n${log(program)}\n-- and forward:\n${log(forward)}`);
  }
}

async function within(limit, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limit / 1000} s`)), limit);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Visits an app in a mode, and returns what is wrong; nothing if all is well. */
async function judge(name, mode, folder, isBare) {
  const scope = new Scope();
  const interrupted = () => scope.end().finally(() => process.exit(1));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupted);
  let wrong;
  try {
    folder.renew();
    await within(PATIENCE_MS, visit(scope, name, mode, folder, isBare));
  } catch (error) {
    wrong = error.message;
  }
  await scope.end().catch((error) => { wrong ??= error.message; });
  for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, interrupted);
  return wrong;
}

/** Visits apps in both modes, and prints what came of it. Returns whether all is well. */
async function judgeAll(names, isBare) {
  const rows = [];
  for (const name of names) {
    const folder = new Folder(APPS[name].folder ?? name, TARGET);
    const installed = folder.install();
    if (installed) console.log(`${name}: installed in ${installed.toFixed(1)} s`);
    for (const mode of MODES) {
      const began = performance.now();
      const wrong = await judge(name, mode, folder, isBare);
      const result = `${wrong === undefined ? 'ok' : 'failed'} (${((performance.now() - began) / 1000).toFixed(1)} s)`;
      console.log(`${name} by ${mode}: ${result}`);
      if (wrong !== undefined) console.log(wrong.replaceAll(/^/gm, '    '));
      rows.push({ name, mode, result, needs: isBare ? 'is given nothing' : APPS[name][mode].needs, wrong });
    }
  }
  console.log('\n| app | by | result | what it needs |\n|---|---|---|---|');
  for (const { name, mode, result, needs } of rows) console.log(`| ${name} | ${mode} | ${result} | ${needs} |`);
  const failed = rows.filter(({ wrong }) => wrong !== undefined).length;
  console.log(`\n${rows.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

const words = process.argv.slice(2);
const names = words.filter((word) => word !== '--bare');
const unknown = names.filter((name) => !Object.hasOwn(APPS, name));
if (unknown.length) {
  console.error(`scripts/apps: there is no app ${unknown.join(', ')}. Name some of ${Object.keys(APPS).join(', ')}, or none for all`);
  process.exitCode = 2;
} else if (chromium() === undefined) {
  console.error('scripts/apps: Chromium is missing: install it, or set SOCKET2ME_CHROMIUM to its path');
  process.exitCode = 1;
} else {
  process.exitCode = await judgeAll(names.length ? names : Object.keys(APPS), words.includes('--bare')) ? 0 : 1;
}
