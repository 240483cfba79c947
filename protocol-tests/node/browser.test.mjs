// Two tunnels of one server in Chromium: one is hostile, and the other must not notice (PROTOCOL.md, "The shared origin").

import assert from 'node:assert';
import { test } from 'node:test';
import { chromium, openTab } from './browser.mjs';
import { serve } from './support.mjs';

const binary = chromium();
// Where nothing may be skipped, a missing browser fails the test.
const skip = binary === undefined && !process.env.CI && 'Chromium is not installed: scripts/browser installs it';
const options = { timeout: 120_000, skip };

const HTML = { 'content-type': 'text/html' };
const SCRIPT = { 'content-type': 'text/javascript' };
const HIJACK = "addEventListener('fetch', (event) => event.respondWith(new Response('hijacked')));";

/**
 * A server with a tab and two tunnels, `a` and `b`, whose hosts are below a domain. `asked` is what their ends were asked. To the
 * browser, that domain is this machine, and its pages come as if by TLS: only such may have a service worker.
 */
async function tunnels(t, answer, { flags = [], domain = 'localhost' } = {}) {
  const server = await serve(t, flags);
  const tunnel = async (name) => {
    const token = await server.token();
    const asked = [];
    await server.end(token, {}, (request, respond) => {
      asked.push(request);
      respond(...answer(name, request));
    });
    const host = `http://${Buffer.from(token, 'base64')}.${domain}:${server.port}`;
    return { url: `${server.url}/go/${token}`, path: `/go/${token}`, host, asked };
  };
  const [a, b] = [await tunnel('a'), await tunnel('b')];
  const browser = domain === 'localhost' ? [] : [
    `--host-resolver-rules=MAP *.${domain} 127.0.0.1,MAP ${domain} 127.0.0.1`,
    `--unsafely-treat-insecure-origin-as-secure=${a.host},${b.host}`,
  ];
  return { a, b, tab: await openTab(t, binary, browser), port: server.port };
}

const page = (name, headers = {}) => [200, `<title>${name}</title><a href="next">${name}</a>`, { ...HTML, ...headers }];
const last = (tunnel) => tunnel.asked.findLast(({ url }) => url !== '/favicon.ico');

test('a page of one tunnel registers no service worker for another', options, async (t) => {
  const { a, b, tab } = await tunnels(t, (name, request) => {
    const isWorker = request.headers['service-worker'] === 'script' || request.url.endsWith('.js');
    return isWorker ? [200, HIJACK, { ...SCRIPT, 'service-worker-allowed': '/' }] : page(name);
  });
  await tab.open(a.url);
  const register = (script, scope) => tab.run(
    `navigator.serviceWorker.register(${JSON.stringify(script)}, ${JSON.stringify({ scope })})
      .then(async ({ scope }) => { await navigator.serviceWorker.ready; return scope; })`);
  for (const script of [a.path, `${a.path}?v=1`, `${a.path}/../${a.path.slice(4)}`, `${a.path}/sw.js`]) {
    for (const scope of ['/', '/go/', b.path, `${b.path}/`]) {
      assert.match(await register(script, scope), /^threw /, `${script} for ${scope}`);
    }
  }
  // Its own pages it may control.
  assert.strictEqual(await register(`${a.path}/sw.js`, `${a.path}/`), `${a.url}/`);
  await tab.open(`${a.url}/anything`);
  assert.strictEqual(await tab.run('document.body.innerText'), 'hijacked');
  for (const url of [b.url, `${b.url}/`, `${b.url}/deep/page`]) {
    await tab.open(url);
    assert.strictEqual(await tab.run('document.title'), 'b', url);
    assert.strictEqual(await tab.run('navigator.serviceWorker.controller'), null, url);
  }
});

test('cookies and links of a page stay in its tunnel', options, async (t) => {
  const { a, b, tab } = await tunnels(t, (name) => page(name, { 'set-cookie': [`${name}=1`] }));
  for (const [tunnel, name] of [[a, 'a'], [b, 'b']]) {
    await tab.open(`${tunnel.url}?x=1`);
    assert.strictEqual(await tab.run('location.href'), `${tunnel.url}/?x=1`);
    assert.strictEqual(await tab.run('document.links[0].href'), `${tunnel.url}/next`);
    await tab.run(`document.cookie = 'script-${name}=1'`);
    assert.strictEqual(last(tunnel).headers.cookie, undefined, 'a cookie of the other tunnel');
  }
  await tab.open(`${a.url}/next`);
  assert.deepStrictEqual(last(a).headers.cookie.split('; ').toSorted(), ['a=1', 'script-a=1']);
});

test('credentials for one tunnel are not sent to another', options, async (t) => {
  const { a, b, tab } = await tunnels(t, (name, request) => {
    if (name === 'b' || request.headers.authorization) return page(name);
    return [401, 'who are you?', { ...HTML, 'www-authenticate': 'Basic realm="x"' }];
  });
  await tab.logInAs('me', 'secret');
  await tab.open(a.url);
  await tab.logOut();
  assert.strictEqual(await tab.run('document.title'), 'a');
  await tab.open(`${a.url}/next`);
  assert.ok(last(a).headers.authorization, 'they are sent again without being asked for');
  assert.strictEqual(a.asked.filter(({ url, headers }) => url === '/next' && !headers.authorization).length, 0);
  for (const url of [b.url, `${b.url}/next`]) {
    await tab.open(url);
    assert.strictEqual(last(b).headers.authorization, undefined, url);
  }
});

test('no response of one tunnel decides for the whole origin', options, async (t) => {
  const hostile = {
    'clear-site-data': '"cache", "cookies", "storage"',
    'accept-ch': 'device-memory, sec-ch-device-memory, sec-ch-ua-model',
    'use-as-dictionary': 'match="/go/*"',
  };
  const { a, b, tab } = await tunnels(t, (name) => page(name, name === 'a' ? hostile : {}));
  await tab.open(`${b.url}/`);
  await tab.run("document.cookie = 'b=1'; localStorage.setItem('b', '1')");
  await tab.open(`${a.url}/`);
  await tab.open(`${b.url}/`);
  assert.strictEqual(await tab.run("document.cookie + localStorage.getItem('b')"), 'b=11');
  const { headers } = last(b);
  for (const name of ['device-memory', 'sec-ch-device-memory', 'sec-ch-ua-model', 'available-dictionary']) {
    assert.strictEqual(headers[name], undefined, name);
  }
});

test('what PROTOCOL.md says that tunnels share, they share', options, async (t) => {
  const { a, b, tab } = await tunnels(t, (name) => page(name));
  await tab.open(`${a.url}/`);
  await tab.run("document.cookie = 'everywhere=1; Path=/'; localStorage.setItem('a', '1')");
  await tab.open(`${b.url}/`);
  assert.strictEqual(await tab.run("localStorage.getItem('a')"), '1');
  assert.strictEqual(last(b).headers.cookie, 'everywhere=1');
});

test('a tunnel\'s own host is an origin of its own', options, async (t) => {
  const wide = { 'set-cookie': ['all=1; Domain=localhost; Path=/', 'all2=1; Domain=.localhost; Path=/', 'own=1; Path=/'], 'accept-ch': 'device-memory' };
  const { a, b, tab } = await tunnels(t, (name, request) => request.url.endsWith('.js')
    ? [200, HIJACK, { ...SCRIPT, 'service-worker-allowed': '/' }]
    : page(name, name === 'a' ? wide : {}));
  await tab.open(`${a.host}/go/x`);
  assert.strictEqual(await tab.run('location.href'), `${a.host}/go/x`);
  assert.strictEqual(await tab.run('document.links[0].href'), `${a.host}/go/next`);
  await tab.run("document.cookie = 'script=1; Domain=localhost'; localStorage.setItem('a', '1')");
  // Only what is the origin's own is kept.
  await tab.open(`${a.host}/`);
  assert.deepStrictEqual(last(a).headers.cookie.split('; ').toSorted(), ['all2=1', 'all=1', 'own=1']);
  assert.ok(last(a).headers['device-memory']);
  for (const url of [`${b.host}/`, `${b.url.replace('127.0.0.1', 'localhost')}/`]) {
    await tab.open(url);
    assert.strictEqual(await tab.run("document.title + localStorage.getItem('a')"), 'bnull', url);
    assert.deepStrictEqual([last(b).headers.cookie, last(b).headers['device-memory']], [undefined, undefined], url);
  }
  await tab.open(`${a.host}/`);
  const scope = await tab.run(`navigator.serviceWorker.register('/deep/sw.js', { scope: '/' })
    .then(async ({ scope }) => { await navigator.serviceWorker.ready; return scope; })`);
  assert.strictEqual(scope, `${a.host}/`);
  await tab.open(`${a.host}/anything`);
  assert.strictEqual(await tab.run('document.body.innerText'), 'hijacked');
  await tab.open(`${b.host}/`);
  assert.strictEqual(await tab.run('document.title'), 'b');
});

test('hosts below a domain of the operator\'s share no storage, worker or frame', options, async (t) => {
  const domain = 't.example.com';
  const wide = { 'set-cookie': [`a=1; Domain=${domain}`, 'b=1; Domain=.example.com; Path=/'], 'service-worker-allowed': '/' };
  const { a, b, tab, port } = await tunnels(t, (name, request) => request.url.endsWith('.js')
    ? [200, HIJACK, { ...SCRIPT, 'service-worker-allowed': '/' }]
    : page(name, name === 'a' ? wide : {}), { flags: ['--tunnel-host', `*.${domain}`], domain });
  await tab.open(`${a.host}/`);
  await tab.run("localStorage.setItem('a', '1')");
  await tab.open(`${a.host}/next`);
  assert.deepStrictEqual(last(a).headers.cookie.split('; ').toSorted(), ['a=1', 'b=1']);
  const scope = await tab.run(`navigator.serviceWorker.register('/deep/sw.js', { scope: '/' })
    .then(async ({ scope }) => { await navigator.serviceWorker.ready; return scope; })`);
  assert.strictEqual(scope, `${a.host}/`);
  // The domain is the server's own host, where the tunnels have their paths.
  for (const url of [`${b.host}/`, `http://${domain}:${port}${b.path}/`]) {
    await tab.open(url);
    assert.strictEqual(await tab.run("document.title + localStorage.getItem('a')"), 'bnull', url);
    assert.strictEqual(last(b).headers.cookie, undefined, url);
  }
  // A page shows another's, and reads nothing of it.
  await tab.open(`${b.host}/`);
  const framed = await tab.run(`new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.onload = () => resolve(frame);
    frame.src = ${JSON.stringify(`${a.host}/framed`)};
    document.body.append(frame);
  }).then((frame) => [frame.contentDocument === null, frame.contentWindow.localStorage])`);
  assert.match(framed, /^threw SecurityError/);
  // What SECURITY.md names: a cookie that a script sets for the whole domain.
  await tab.run(`document.cookie = 'script=1; Domain=${domain}'`);
  await tab.open(`http://${domain}:${port}${a.path}/`);
  assert.strictEqual(last(a).headers.cookie, 'script=1');
});

test('in a sandbox, pages at the paths of tunnels share nothing', options, async (t) => {
  const cookies = { 'set-cookie': ['everywhere=1; Path=/', 'plain=1'] };
  const flags = ['--path-html', 'sandbox'];
  const { a, b, tab } = await tunnels(t, (name, request) => request.url.endsWith('.js')
    ? [200, HIJACK, SCRIPT]
    : page(name, name === 'a' ? cookies : {}), { flags });
  await tab.open(`${a.url}/`);
  assert.strictEqual(await tab.run('self.origin'), 'null');
  for (const shared of [
    "localStorage.setItem('a', '1')",
    "document.cookie = 'script=1; Path=/'",
    `navigator.serviceWorker.register('${a.path}/sw.js')`,
    "caches.open('x')",
    "new Promise((resolve, reject) => Object.assign(indexedDB.open('x'), { onsuccess: resolve, onerror: reject }))",
  ]) {
    assert.match(await tab.run(shared), /^threw /, shared);
  }
  const framed = await tab.run(`new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.onload = () => resolve(frame);
    frame.src = ${JSON.stringify(`${b.url}/framed`)};
    document.body.append(frame);
  }).then((frame) => frame.contentWindow.document.title)`);
  assert.match(framed, /^threw SecurityError/);
  await tab.open(`${a.url}/next`);
  assert.deepStrictEqual(last(a).headers.cookie.split('; ').toSorted(), ['everywhere=1', 'plain=1']);
  await tab.open(`${b.url}/`);
  assert.strictEqual(await tab.run('document.title'), 'b');
  assert.strictEqual(last(b).headers.cookie, undefined);
});
