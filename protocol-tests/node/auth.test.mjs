// Options that an end gives when it connects, and connects that the server refuses.

import assert from 'node:assert';
import { test } from 'node:test';
import { TRANSPORTS, event, serve, visit } from './support.mjs';

const limit = { timeout: 20_000 };
const UNKNOWN = Buffer.from('00000000-0000-4000-8000-000000000000').toString('base64');

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  for (const [what, type, body] of [
    ['JSON', 'application/json', '{ "b": 1,  "a": 1.0 }\n'],
    ['broken JSON', 'application/json', '{no json'],
    ['a form', 'application/x-www-form-urlencoded', 'a[b]=c%20d&&e'],
    ['text', 'text/plain', 'größer 😀'],
  ]) {
    test(`${name}: raw mode passes ${what} on as its exact bytes`, limit, async (t) => {
      const server = await serve(t);
      const token = await server.token();
      const seen = [];
      await server.end(token, { ...transport, auth: { body: 'raw' } }, (request, respond) => {
        seen.push(request.body);
        respond(200, 'seen');
      });
      const answer = await server.visit(token, '', { method: 'POST', headers: { 'Content-Type': type }, body });
      assert.deepStrictEqual([answer.status, answer.text], [200, 'seen']);
      assert.deepStrictEqual(seen, [Buffer.from(body)]);
    });
  }

  test(`${name}: rawHeaders keeps repeated headers`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const seen = [];
    await server.end(token, { ...transport, auth: { rawHeaders: true } }, (request, respond) => {
      seen.push(request);
      respond();
    });
    const headers = { 'X-Before': '0', 'X-Twice': ['one', 'two, three'], 'X-After': '4' };
    assert.deepStrictEqual((await server.visit(token, '', { headers })).status, 200);
    const [request] = seen;
    assert.deepStrictEqual(request.headers['x-twice'], 'one, two, three');
    const mine = request.rawHeaders.filter(([name]) => Object.keys(headers).some((own) => own.toLowerCase() === name));
    assert.deepStrictEqual(mine, [['x-before', '0'], ['x-twice', 'one'], ['x-twice', 'two, three'], ['x-after', '4']]);
  });

  test(`${name}: by default there are no rawHeaders, and broken JSON gives the visitor 400`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const seen = [];
    await server.end(token, transport, (request, respond) => {
      seen.push(request);
      respond();
    });
    const broken = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{no json' };
    const refused = await server.visit(token, '', broken);
    assert.deepStrictEqual(refused.status, 400);
    assert.deepStrictEqual(Object.keys(JSON.parse(refused.text)), ['Error']);
    assert.deepStrictEqual((await server.visit(token)).status, 200);
    assert.deepStrictEqual(seen.map((request) => 'rawHeaders' in request), [false]);
  });

  for (const [what, token, auth, message] of [
    ['an unknown token', UNKNOWN, undefined, /token not found/],
    ['an invalid token', 'NO_TOKEN', undefined, /token not found/],
    ['an unknown body mode', undefined, { body: 'stream' }, /auth\.body/],
    ['rawHeaders that is not a boolean', undefined, { rawHeaders: 'yes' }, /auth\.rawHeaders/],
  ]) {
    test(`${name}: CONNECT_ERROR for ${what}`, limit, async (t) => {
      const server = await serve(t);
      const good = await server.token();
      const end = server.socket(token ?? good, { ...transport, auth });
      const refused = event(end, 'connect_error');
      const joined = event(end, 'connect').then(() => [new Error('the end has connected')]);
      const [error] = await Promise.race([refused, joined]);
      assert.match(error.message, message);
      assert.deepStrictEqual(end.connected, false);
      const answer = await visit(`${server.url}/go/${token ?? good}`);
      const words = token === undefined ? 'client not connected' : 'token not found';
      assert.deepStrictEqual([answer.status, JSON.parse(answer.text)], [500, { Error: words }]);
    });
  }
}
