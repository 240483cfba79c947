// nginx, HAProxy and Caddy in front of the real binary, with the samples of deploy/. Of a sample only ports, hosts and paths are
// changed, and the server gets the flags that are in the sample's first lines.

import assert from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from './free-port.mjs';
import { serve, visit } from './support.mjs';

const sample = (name) => readFileSync(new URL(`../../deploy/${name}`, import.meta.url), 'utf8');

/** Whether this machine has the address `::1`: containers often have none. */
export const HAS_IPV6 = Object.values(networkInterfaces()).flat().some(({ address }) => address === '::1');

/** The hosts' addresses, each with the proxy's port. */
const LOOPBACK = HAS_IPV6 ? ['127.0.0.1', '[::1]'] : ['127.0.0.1'];

/** Where scripts/proxies has unpacked Debian's packages, if they were not installed. */
const UNPACKED = process.env.SOCKET2ME_PROXIES;

/** How long a proxy may take to reach its server. */
const START_LIMIT_MS = 20_000;

/** The first folders of programs, and those that only root has in its path. */
const FOLDERS = [
  ...(UNPACKED ? [join(UNPACKED, 'usr/sbin'), join(UNPACKED, 'usr/bin')] : []),
  ...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin',
];

const program = (name) => FOLDERS.map((folder) => join(folder, name)).find(existsSync);
const NGINX = program('nginx') ?? (process.env.SOCKET2ME_NGINX || undefined);
const HAPROXY = program('haproxy');
const CADDY = program('caddy');
const OPENSSL = program('openssl');
/** nginx's module for TCP. */
const NGINX_STREAM = [UNPACKED && join(UNPACKED, 'usr'), NGINX && join(NGINX, '../..'), '/usr']
  .map((folder) => folder && join(folder, 'lib/nginx/modules/ngx_stream_module.so')).find((path) => path && existsSync(path));

/** Returns why a test is skipped that needs these, by the package that has them; or `false`. */
function missing(programs) {
  const [name] = Object.entries(programs).find(([, path]) => path === undefined) ?? [];
  return name !== undefined && `${name} is missing: install Debian's package ${name}, or run scripts/proxies`;
}

/** Replaces each text, which must be there: a sample that is written otherwise needs another test. */
function replaced(text, changes) {
  return Object.entries(changes).reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), `the sample does not have: ${from}`);
    return changed.replaceAll(from, to);
  }, text);
}

/** Returns the flags of `serve` that a sample begins with, without the address to listen at. */
function flagsOf(text, port) {
  const [, flags] = /^# +socket2me serve --listen 127\.0\.0\.1:3000 (.*)$/m.exec(text) ?? assert.fail('the sample names no flags');
  return flags.replaceAll('relay.example', `localhost:${port}`).split(' ');
}

/** A certificate of `localhost`, signed by itself: `certificate.pem` with its key, and `certificate.key`. */
function certificate(folder) {
  const [key, pem] = ['key', 'pem'].map((ending) => join(folder, `certificate.${ending}`));
  const options = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  const files = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', pem];
  execFileSync(OPENSSL, ['req', '-x509', ...options, ...files], { stdio: 'ignore' });
  const ca = readFileSync(pem, 'utf8');
  writeFileSync(pem, ca + readFileSync(key, 'utf8'));
  return { ca, key, pem };
}

function nginx(folder, block, module = '') {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
  writeFileSync(join(folder, 'nginx.conf'), `${module}
    daemon off; master_process off; pid ${folder}/pid; events {}
    ${module ? '' : `http { ${temporary.join(' ')} access_log ${folder}/access; include ${folder}/site.conf; }`}`);
  writeFileSync(join(folder, 'site.conf'), block);
  return [NGINX, '-p', folder, '-e', join(folder, 'log'), '-c', 'nginx.conf'];
}

function haproxy(folder, text) {
  writeFileSync(join(folder, 'global.cfg'), `global\n    stats socket ${folder}/admin\n`);
  writeFileSync(join(folder, 'haproxy.cfg'), text);
  return [HAPROXY, '-db', '-f', join(folder, 'global.cfg'), '-f', join(folder, 'haproxy.cfg')];
}

/**
 * The proxies that speak HTTP. `flags(port)` are those of the server, and `start({ folder, port, upstream })` writes the proxy's files:
 * it returns its command, and where its certificate authority's certificate will be.
 */
export const PROXIES = {
  'nginx as it comes': {
    skip: missing({ nginx: NGINX }),
    isPlain: true,
    flags: () => [],
    start: ({ folder, port, upstream }) => ({
      command: nginx(folder, `server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${upstream}; } }`),
    }),
  },

  nginx: {
    skip: missing({ nginx: NGINX, openssl: OPENSSL }),
    flags: (port) => flagsOf(sample('nginx/socket2me.conf'), port),
    start({ folder, port, upstream }) {
      const text = replaced(sample('nginx/socket2me.conf'), {
        'server 127.0.0.1:3000;': `server 127.0.0.1:${upstream};`,
        'listen 443 ': `listen 127.0.0.1:${port} `,
        '    listen [::]:443 ssl http2;\n': HAS_IPV6 ? `    listen [::1]:${port} ssl http2;\n` : '',
        '/etc/ssl/relay.example.': `${folder}/certificate.`,
        'server_name relay.example;': 'server_name localhost;',
      });
      const { pem } = certificate(folder);
      return { command: nginx(folder, text), ca: pem };
    },
  },

  HAProxy: {
    skip: missing({ haproxy: HAPROXY, openssl: OPENSSL }),
    flags: (port) => flagsOf(sample('haproxy/haproxy.cfg'), port),
    start({ folder, port, upstream }) {
      const text = replaced(sample('haproxy/haproxy.cfg'), {
        'server relay 127.0.0.1:3000 ': `server relay 127.0.0.1:${upstream} `,
        'bind :443,[::]:443 ': `bind ${LOOPBACK.map((host) => `${host}:${port}`).join(',')} `,
        '/etc/haproxy/relay.example.': `${folder}/certificate.`,
        'hdr Host relay.example': 'hdr Host localhost',
      });
      const { pem } = certificate(folder);
      return { command: haproxy(folder, text), ca: pem };
    },
  },

  Caddy: {
    skip: missing({ caddy: CADDY }),
    flags: (port) => flagsOf(sample('caddy/Caddyfile'), port),
    start({ folder, port, upstream }) {
      const text = replaced(sample('caddy/Caddyfile'), {
        'reverse_proxy 127.0.0.1:3000 {': `reverse_proxy 127.0.0.1:${upstream} {`,
        'relay.example {': 'localhost {',
      });
      // A name that no certificate is fetched for gets one of an authority of Caddy's own.
      writeFileSync(join(folder, 'Caddyfile'), `{
        admin off
        auto_https disable_redirects
        https_port ${port}
        default_bind ${LOOPBACK.join(' ')}
        skip_install_trust
        storage file_system ${folder}
      }
      ${text}`);
      const command = [CADDY, 'run', '--config', join(folder, 'Caddyfile'), '--adapter', 'caddyfile'];
      return { command, ca: join(folder, 'pki/authorities/local/root.crt') };
    },
  },
};

const haproxyTcp = (version) => ({ folder, port, upstream, isTls }) => haproxy(folder, `
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    bind 127.0.0.1:${port}
    default_backend relay
backend relay
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    server relay 127.0.0.1:${upstream} ${version} check inter 100ms ${isTls ? 'check-ssl verify none' : ''}
`);

/** The proxies that pass TCP on, and say whose a connection is by the PROXY protocol. */
export const PASSING = {
  'HAProxy, send-proxy-v2': { skip: missing({ haproxy: HAPROXY, openssl: OPENSSL }), start: haproxyTcp('send-proxy-v2') },
  'HAProxy, send-proxy': { skip: missing({ haproxy: HAPROXY, openssl: OPENSSL }), start: haproxyTcp('send-proxy') },
  'nginx, proxy_protocol on': {
    skip: missing({ nginx: NGINX, 'libnginx-mod-stream': NGINX_STREAM, openssl: OPENSSL }),
    start: ({ folder, port, upstream }) => nginx(folder, '', `load_module ${NGINX_STREAM};
      stream { server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${upstream}; proxy_protocol on; } }`),
  },
};

const temporary = () => mkdtempSync(join(tmpdir(), 'socket2me-proxy-'));

/** The folders of shared libraries below a folder that packages are unpacked in. */
function libraries(unpacked) {
  const folder = join(unpacked, 'usr/lib');
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)).join(':') : '';
}

/** Starts a proxy and waits until `answers()` does. After the test the proxy is stopped and its folder removed. */
async function run(t, folder, [command, ...args], answers) {
  const env = { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
  if (UNPACKED) env.LD_LIBRARY_PATH = libraries(UNPACKED);
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const output of [child.stdout, child.stderr]) output.on('data', (text) => { log += text; });
  let hasEnded = false;
  const ended = once(child, 'close').then(() => { hasEnded = true; });
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true });
  });
  const begun = performance.now();
  while (!await Promise.race([answers().catch(() => false), ended])) {
    if (!hasEnded && performance.now() - begun < START_LIMIT_MS) continue;
    if (existsSync(join(folder, 'log'))) log += readFileSync(join(folder, 'log'));
    throw new Error(`${command} ${hasEnded ? 'has ended' : 'does not reach the server'}:\n${log}`);
  }
}

/** Starts a server and one of `PROXIES` in front of it. `tls` is what clients need to trust the proxy. */
export async function behind(t, { isPlain, flags, start }) {
  const [port, upstream] = [await freePort(), await freePort()];
  const server = await serve(t, ['--throttle-interval-ms', '0', ...flags(port)], { port: upstream });
  const folder = temporary();
  const { command, ca } = start({ folder, port, upstream });
  const url = isPlain ? `http://127.0.0.1:${port}` : `https://localhost:${port}`;
  const tls = {};
  await run(t, folder, command, async () => {
    if (ca) tls.ca = readFileSync(ca, 'utf8');
    return (await visit(`${url}/healthz`, tls)).status === 200;
  });
  return { server, url, port, tls, folder };
}

/** Starts a server with `--proxy-protocol` and one of `PASSING` in front of it; with `isTls` the server has the certificate. */
export async function passing(t, { start }, isTls) {
  const folder = temporary();
  const [port, upstream] = [await freePort(), await freePort()];
  const { ca, key, pem } = certificate(folder);
  const flags = ['--throttle-interval-ms', '0', '--trust-proxy', '127.0.0.1', '--proxy-protocol'];
  const server = await serve(t, isTls ? [...flags, '--tls-cert', pem, '--tls-key', key] : flags, { port: upstream });
  const url = isTls ? `https://localhost:${port}` : `http://localhost:${port}`;
  const tls = isTls ? { ca } : {};
  await run(t, folder, start({ folder, port, upstream, isTls }), async () =>
    (await visit(`${url}/healthz`, tls)).status === 200);
  return { server, url, port, upstream, tls, folder };
}

/** Asks an HAProxy what it has found its server to be, such as `UP` by `L7OK`, once it has looked. */
export async function checked(folder) {
  for (;;) {
    const socket = net.connect(join(folder, 'admin'));
    socket.end('show stat -1 4 -1\n');
    const [names, row] = (await socket.toArray()).join('').split('\n').map((line) => line.split(','));
    const value = (name) => row[names.indexOf(name)];
    if (value('check_status') && value('check_status') !== 'INI' && !value('check_status').startsWith('*')) {
      return { status: value('status'), check: value('check_status'), code: value('check_code') };
    }
  }
}
