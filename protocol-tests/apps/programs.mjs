// An app in its folder: its packages, its own program, and `socket2me forward` in front of it.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { binary } from '../node/support.mjs';

const SOURCES = fileURLToPath(new URL('.', import.meta.url));
/** The commands that install what each file names. */
const INSTALL = {
  'package-lock.json': [['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error']],
  'requirements.txt': [
    ['python3', '-m', 'venv', '--clear', 'venv'],
    ['venv/bin/pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes', '-r', 'requirements.txt'],
  ],
};
/** A copy of the file that was installed. */
const INSTALLED = 'installed';
/** What is left of a run for the next. */
const KEPT = ['node_modules', 'venv', INSTALLED];
/** Nothing is told to the frameworks' makers, and output is plain. */
const QUIET = { NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1', CI: '1' };
/** What an app says of the port where it listens, and only then. */
const LISTENS = /https?:\/\/[^\s/]+:(\d+)/;
/** Time for a program to say what it is waited for. The first start of a dev server takes seconds. */
const PATIENCE_MS = 60_000;
const STOP_LIMIT_MS = 5_000;

/** Where an app is run: a copy of its sources, and the packages that they need. */
export class Folder {
  #sources;

  constructor(name, target) {
    this.path = path.join(target, 'apps', name);
    this.#sources = path.join(SOURCES, name);
  }

  /** Installs what is not installed yet. Returns how many seconds that took. */
  install() {
    this.renew();
    const file = Object.keys(INSTALL).find((name) => existsSync(path.join(this.path, name)));
    const wanted = this.read(file);
    if (existsSync(path.join(this.path, INSTALLED)) && this.read(INSTALLED) === wanted) return 0;
    const began = performance.now();
    for (const command of INSTALL[file]) this.run(command);
    // The copy comes last, so that an installation that failed is repeated.
    this.write(INSTALLED, wanted);
    return (performance.now() - began) / 1000;
  }

  /** Copies the sources anew, because a run changes them, and removes what it has made. */
  renew() {
    mkdirSync(this.path, { recursive: true });
    for (const name of readdirSync(this.path)) {
      if (!KEPT.includes(name)) rmSync(path.join(this.path, name), { recursive: true });
    }
    cpSync(this.#sources, this.path, { recursive: true, filter: (file) => !KEPT.includes(path.basename(file)) });
  }

  /** Runs a command to its end. Its output is shown only if it fails. */
  run([program, ...args], env = {}) {
    const options = { cwd: this.path, env: { ...process.env, ...QUIET, ...env }, encoding: 'utf8' };
    const { status, error, stdout, stderr } = spawnSync(program, args, options);
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
  }

  read(file) {
    return readFileSync(path.join(this.path, file), 'utf8');
  }

  write(file, text) {
    writeFileSync(path.join(this.path, file), text);
  }
}

/** A program that ends with `scope`, and with it all that it has started. `log` is what it has written. */
class Program {
  log = '';
  #child;
  #name;
  #ended;

  constructor(scope, [program, ...args], options) {
    this.#name = path.basename(program);
    // In a group of its own, which is ended whole.
    this.#child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', ({ message }) => resolve(message));
      this.#child.once('close', (code, signal) => resolve(`it ended with ${signal ?? code}`));
    });
    for (const output of ['stdout', 'stderr']) this.#child[output].on('data', (text) => { this.log += text; });
    scope.after(() => this.#stop());
  }

  async #stop() {
    this.#signal('SIGTERM');
    const timer = setTimeout(() => this.#signal('SIGKILL'), STOP_LIMIT_MS);
    await this.#ended;
    clearTimeout(timer);
    this.#signal('SIGKILL');
  }

  #signal(signal) {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  /** Waits for a line of standard output of which `read` makes a value, and returns the value. */
  async says(what, read) {
    let timer;
    const said = new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${this.#name} does not say ${what}: ${why}\n${this.log.trim()}`));
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        const value = read(stripVTControlCharacters(line));
        if (value !== undefined) resolve(value);
      });
      this.#ended.then(fail);
      timer = setTimeout(() => fail(`not within ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
    });
    return said.finally(() => clearTimeout(timer));
  }
}

/** Returns a port that is free, for an app that cannot be told to take one. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return String(port);
}

/** Starts an app, and returns its program and the port where it listens. `FREE_PORT` in the command becomes one that is free. */
export async function startApp(scope, folder, command, env) {
  const free = await freePort();
  const words = command.map((word) => word.replace('FREE_PORT', free));
  const app = new Program(scope, words, { cwd: folder.path, env: { ...process.env, ...QUIET, ...env } });
  const port = await app.says('where it listens', (line) => LISTENS.exec(line)?.[1]);
  return { app, port };
}

/** Starts `socket2me forward`, and returns its program and the URL of its tunnel. */
export async function startForward(scope, server, port, name, flags) {
  const command = [binary(), 'forward', port, '--server', server.url, '--name', name, '--ephemeral', '--output', 'json', ...flags];
  // Without this process's environment: its variables are settings.
  const forward = new Program(scope, command, { env: {} });
  const url = await forward.says('its URL', (line) => {
    const said = JSON.parse(line);
    return said.event === 'ready' ? said.url : undefined;
  });
  return { forward, url };
}
