// Clients that can carry only text: base64 over every transport, and JSONP over a page's scripts and forms.

import { posts } from './dom.mjs';
import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { TRANSPORTS, event, inbox, serve } from './support.mjs';

const require = createRequire(import.meta.url);
const limit = { timeout: 20_000 };
const LARGE = 100 << 10;

/** The versions with JSONP; 4.8.4 has none. */
const WITH_JSONP = ['1.4.8', '1.7.4', '2.0.4', '2.5.0', '3.1.3', '4.0.2'];
const CLIENTS = new Map(WITH_JSONP.map((version) => [version, require(`socket.io-client-${version}`)]));
CLIENTS.set('4.8.4', require('socket.io-client'));
const JSONP = { forceJSONP: true, upgrade: false };

const TEXTS = {
  'newlines': 'one\ntwo\r\nthree\rfour\n\n',
  'backslash and n': 'a\\nb \\\\n \\\\\\n \\\n \\',
  'quotes': '"double" \'single\' `back` </script>',
  'the special characters of forms': 'd=1&d=2+3%20%2B;=&',
  'line and paragraph separators': '\u2028\u2029',
  'characters of two to four bytes': 'é € 日本 😀 𝄞 e\u0301 \u007f\u0080\u009f\u00ff\u0100',
  'text that looks like UTF-8 encoded twice': 'Ã© â\u0082¬ ð\u009f\u0098\u0080',
  'control characters': '\u0000\u0001\u001e\u001f\t\b\f',
  'text that looks like a payload': '2:404:4abc\u001e4b4AQID',
  '100 KiB': 'aé€😀\n\\n"'.repeat(LARGE / 15),
};

const BYTES = {
  'every byte': Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  'one byte': Buffer.from([0xff]),
  'two bytes': Buffer.from([0xfb, 0xff]),
  '100 KiB': randomBytes(LARGE),
};

const post = (type, body) => ({ method: 'POST', headers: { 'Content-Type': type }, body });

/** Connects an end of the given version to a server of its own. */
async function attach(t, version, options) {
  const server = await serve(t, [], { client: CLIENTS.get(version) });
  const token = await server.token();
  return { server, token, end: await server.end(token, { reconnection: false, ...options }) };
}

/** Sends each of `TEXTS` and `BYTES` to the end and back. */
async function exchangeEverything(server, token, end) {
  const requests = inbox(end);
  for (const [what, text] of Object.entries(TEXTS)) {
    const answer = server.visit(token, '', post('text/plain; charset=utf-8', text));
    const { request, respond } = await requests.next();
    assert.deepStrictEqual([what, request.body], [what, text]);
    respond(200, text, { 'X-What': what });
    const { status, headers, body } = await answer;
    assert.deepStrictEqual([what, status, headers['x-what']], [what, 200, what]);
    assert.deepStrictEqual([what, body.toString()], [what, text]);
  }
  for (const [what, bytes] of Object.entries(BYTES)) {
    const answer = server.visit(token, '', post('application/octet-stream', bytes));
    const { request, respond } = await requests.next();
    assert.deepStrictEqual([what, Buffer.from(request.body)], [what, bytes]);
    respond(200, Buffer.from(bytes).reverse(), { 'Content-Type': 'image/png' });
    const { status, body } = await answer;
    assert.deepStrictEqual([what, status, body], [what, 200, Buffer.from(bytes).reverse()]);
  }
}

for (const version of CLIENTS.keys()) {
  for (const [name, transport] of Object.entries(TRANSPORTS)) {
    test(`${version}, ${name}: forceBase64 carries all text and bytes unchanged`, limit, async (t) => {
      const { server, token, end } = await attach(t, version, { ...transport, forceBase64: true });
      const { engine } = end.io;
      const wanted = name === 'polling' ? 'polling' : 'websocket';
      if (engine.transport.name !== wanted) await event(engine, 'upgrade');
      const kinds = new Set();
      engine.transport.ws?.addEventListener('message', ({ data }) => kinds.add(typeof data));
      await exchangeEverything(server, token, end);
      assert.deepStrictEqual([...kinds], name === 'polling' ? [] : ['string']);
      assert.deepStrictEqual([end.connected, engine.transport.name], [true, wanted]);
    });
  }
}

for (const version of WITH_JSONP) {
  test(`${version}: JSONP carries all text and bytes unchanged`, limit, async (t) => {
    const { server, token, end } = await attach(t, version, JSONP);
    const { transport } = end.io.engine;
    assert.ok(transport.script && transport.query.j !== undefined, 'the transport polls with scripts');
    await exchangeEverything(server, token, end);
    const refused = posts.filter(({ url, status }) => url.startsWith(server.url) && status !== 200);
    assert.deepStrictEqual([end.connected, refused], [true, []]);
  });

  test(`${version}: JSONP carries 50 concurrent exchanges, answered out of order`, limit, async (t) => {
    const { server, token, end } = await attach(t, version, JSONP);
    const requests = inbox(end);
    const paths = Array.from({ length: 50 }, (_, number) => `/${number}`);
    const answers = paths.map((path) => server.visit(token, path));
    const arrived = [];
    while (arrived.length < paths.length) arrived.push(await requests.next());
    for (const { request, respond } of arrived.reverse()) respond(200, request.url);
    assert.deepStrictEqual((await Promise.all(answers)).map(({ text }) => text), paths);
  });

  test(`${version}: an end on JSONP upgrades to a WebSocket`, limit, async (t) => {
    const { server, token, end } = await attach(t, version, { forceJSONP: true });
    const { engine } = end.io;
    if (engine.transport.name === 'polling') await event(engine, 'upgrade');
    await exchangeEverything(server, token, end);
    assert.deepStrictEqual([end.connected, engine.transport.name], [true, 'websocket']);
  });
}

test('ends of two versions work in one page', limit, async (t) => {
  const attached = await Promise.all(['1.4.8', '3.1.3'].map((version) => attach(t, version, JSONP)));
  for (const [index, { end }] of attached.entries()) end.on('request', (request, respond) => respond(`end ${index}`));
  const answers = [0, 1, 1, 0].map((index) => attached[index].server.visit(attached[index].token));
  const texts = (await Promise.all(answers)).map(({ text }) => text);
  assert.deepStrictEqual(texts, ['end 0', 'end 1', 'end 1', 'end 0']);
});
