// The original server's clients and its operator's settings work here unchanged.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { PublishedClient } from './published-client.mjs';
import { binary, event, visit } from './support.mjs';

const limit = { timeout: 20_000 };
const BINARY = binary();
const READY = /^Socket2Me is ready at (http:\/\/\S+) - /;
const HTML = 'text/html; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';
const UNKNOWN = [500, '{"Error":"token not found"}'];
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0xff]);

/** Starts a server as an operator of the original does, by its environment alone. Its clients stop with the test. */
async function operate(t, env = {}) {
  const child = spawn(BINARY, ['serve'], {
    env: { PORT: '0', SOCKET2ME_STORE: 'memory', ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 2 * limit.timeout,
    killSignal: 'SIGKILL',
  });
  const exited = once(child, 'exit');
  const end = (signal) => {
    child.kill(signal);
    return exited;
  };
  const clients = [];
  t.after(async () => {
    clients.forEach((client) => client.stop());
    await end('SIGTERM');
  });
  const line = once(createInterface({ input: child.stdout }), 'line');
  const [ready] = await Promise.race([line, exited.then(([code]) => assert.fail(`the server ended with ${code}`))]);
  const [, url] = READY.exec(ready);
  const client = (version, handler, waits) => {
    const made = new PublishedClient(version, url, handler, { waitMs: 20, ...waits });
    clients.push(made);
    return made;
  };
  return { url, port: new URL(url).port, end, client };
}

/** Starts a client, and returns its URL and its token. */
async function publishedBy(client) {
  const published = event(client, 'published');
  client.start();
  return published;
}

const outcome = async (answer) => {
  const { status, text } = await answer;
  return [status, text];
};

/** Name, arguments of `respond`, and the status, type, body and headers that the visitor gets. */
const ACKS = [
  ['nothing at all', [], 200, HTML, 'OK'],
  ['a body and headers', ['just body', { 'X-Q': '1' }], 200, HTML, 'just body', { 'x-q': '1' }],
  ['status, JSON and headers', [201, { a: 1 }, { 'X-Y': 'z' }], 201, JSON_TYPE, '{"a":1}', { 'x-y': 'z' }],
  ['bytes', [200, PNG, { 'content-type': 'image/png' }], 200, 'image/png', PNG],
  ['a content-type of the end', [200, 'hi', { 'Content-Type': 'text/csv' }], 200, 'text/csv', 'hi'],
  ['a number for a body', [200, 12345], 200, HTML, '12345'],
  ['a status alone', [404], 404, HTML, 'Not Found'],
  ['a body alone', ['größer 日本 😀'], 200, HTML, 'größer 日本 😀'],
  ['no body', [200, null], 200, undefined, ''],
  ['a list', [200, [1, 'é', null]], 200, JSON_TYPE, '[1,"é",null]'],
  ['a boolean', [200, false], 200, JSON_TYPE, 'false'],
  ['the highest status', [999, 'x'], 999, HTML, 'x'],
];

/** Name, arguments of `respond` that crashed the original, and what the error's message must contain. */
const BAD_ACKS = [
  ['a status below 100', [99, 'x'], /99/],
  ['a status above 999', [1000, 'x'], /1000/],
  ['a status that is not a whole number', [200.5, 'x'], /200\.5/],
  ['an invalid header name', [200, 'x', { 'a b': '1' }], /a b/],
  ['a header value that would split the response', [200, 'x', { 'x-a': '1\r\nx-b: 2' }], /x-a/],
];

const post = (type, body) => ({ method: 'POST', headers: { 'Content-Type': type }, body });
const form = (body) => post('application/x-www-form-urlencoded', body);
const json = (body) => post('application/json', body);
const raw = (...lines) => ({ headers: ['Host', 'test', ...lines.flat()] });
const LARGE = { text: 'é'.repeat(100 << 10) };

/** Name, path and options of a visitor's request, and the parts that the request object must have. */
const REQUESTS = [
  ['the example of the documentation', '/help/me?fname=bob&lname=smith', {},
    { method: 'GET', url: '/help/me', query: { fname: 'bob', lname: 'smith' }, body: {} }],
  ['the token alone', '', {}, { url: '/', query: {}, body: {} }],
  ['an encoded path, which is not decoded', '/a%20b/%2F/é', {}, { url: '/a%20b/%2F/%C3%A9' }],
  ['a nested query, as qs parses it', '/?a[b]=c&a[d]=e&l=1&l=2', {}, { query: { a: { b: 'c', d: 'e' }, l: ['1', '2'] } }],
  ['headers', '', raw(['X-Some', 'A'], ['X-Some', 'B'], ['Cookie', 'a=1'], ['Cookie', 'b=2']),
    { headers: { 'host': 'test', 'x-some': 'A, B', 'cookie': 'a=1; b=2' } }],
  ['JSON', '', json('{"a":[1,null,"é€😀"]}'), { method: 'POST', body: { a: [1, null, 'é€😀'] } }],
  ['JSON of more than 100 KiB', '', json(JSON.stringify(LARGE)), { body: LARGE }],
  ['a form', '', form('a[b]=c&l=1&l=2&t=%E2%82%AC+x'), { body: { a: { b: 'c' }, l: ['1', '2'], t: '€ x' } }],
  ['an empty form', '', form(''), { body: {} }],
  ['text', '', post('text/plain', 'line\né€😀'), { body: 'line\né€😀' }],
  ['XML', '', post('application/xml', '<a>é</a>'), { body: '<a>é</a>' }],
  ['an image', '', post('image/png', PNG), { body: PNG }],
  ['multipart', '', post('multipart/form-data; boundary=x', '--x--\r\n'), { body: Buffer.from('--x--\r\n') }],
  ...['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'].map((method) => [method, '/m', { method }, { method, url: '/m' }]),
];

/** The parts of `whole` whose keys `part` has. */
function like(part, whole) {
  if (Buffer.isBuffer(part) || Array.isArray(part) || typeof part !== 'object' || part === null) return whole;
  return Object.fromEntries(Object.keys(part).map((key) => [key, like(part[key], whole?.[key])]));
}

for (const version of ['1.4.8', '1.7.4']) {
  for (const [signal, exit] of [['SIGKILL', [null, 'SIGKILL']], ['SIGTERM', [0, null]]]) {
    test(`${version}: a client survives the end of its server by ${signal}`, limit, async (t) => {
      const server = await operate(t);
      const client = server.client(version, (request, respond) => respond('at your service'));

      const [url, token] = await publishedBy(client);
      assert.strictEqual(url, `${server.url}/go/${token}`);
      assert.match(token, /^[A-Za-z0-9]{48}$/);
      assert.deepStrictEqual(await outcome(visit(url)), [200, 'at your service']);

      const [lost, back] = [event(client, 'disconnect'), event(client, 'published')];
      assert.deepStrictEqual(await server.end(signal), exit);
      assert.match((await lost)[0], /^transport (close|error)$/);

      await operate(t, { PORT: server.port });
      const [newUrl, newToken] = await back;
      assert.notStrictEqual(newToken, token);
      assert.deepStrictEqual(await outcome(visit(newUrl)), [200, 'at your service']);
      assert.deepStrictEqual(await outcome(visit(url)), UNKNOWN);
    });
  }

  test(`${version}: the visitor gets what the client answers`, limit, async (t) => {
    const server = await operate(t);
    const rows = [...ACKS, ...BAD_ACKS];
    const client = server.client(version, ({ url }, respond) => respond(...rows[url.slice(1)][1]));
    const [url] = await publishedBy(client);
    for (const [index, [what, , status, type, body, headers = {}]] of ACKS.entries()) {
      await t.test(what, async () => {
        const answer = await visit(`${url}/${index}`);
        assert.deepStrictEqual([answer.status, answer.body], [status, Buffer.from(body)]);
        const expected = { ...headers, 'content-type': type, 'x-provided-by': 'Socket2Me' };
        assert.deepStrictEqual(like(expected, answer.headers), expected);
      });
    }
    for (const [index, [what, , reason]] of BAD_ACKS.entries()) {
      await t.test(`${what} is a 502 that names the fault`, async () => {
        const answer = await visit(`${url}/${ACKS.length + index}`);
        assert.deepStrictEqual([answer.status, answer.headers['x-b']], [502, undefined]);
        assert.match(JSON.parse(answer.text).Error, reason);
      });
    }
    // None of these answers has cost the client its connection.
    assert.deepStrictEqual(await outcome(visit(`${url}/0`)), [200, 'OK']);
  });

  test(`${version}: the client gets what the visitor sends`, limit, async (t) => {
    const server = await operate(t);
    const seen = [];
    const client = server.client(version, (request, respond) => {
      seen.push(request);
      respond(200, request.method);
    });
    const [url] = await publishedBy(client);
    for (const [what, path, options, expected] of REQUESTS) {
      await t.test(what, async () => {
        const { method = 'GET' } = options;
        assert.deepStrictEqual(await outcome(visit(url + path, options)), [200, method === 'HEAD' ? '' : method]);
        assert.deepStrictEqual(like(expected, seen.at(-1)), expected);
      });
    }
    await t.test('invalid JSON is refused and not forwarded', async () => {
      const answer = await visit(url, json('{"a":'));
      assert.deepStrictEqual([answer.status, Object.keys(JSON.parse(answer.text))], [400, ['Error']]);
    });
    assert.strictEqual(seen.length, REQUESTS.length);
  });

  test(`${version}: a handler that never responds becomes 200 OK after the timeout`, limit, async (t) => {
    const server = await operate(t, { SOCKET2ME_RESPONSE_TIMEOUT: '300ms' });
    const [url] = await publishedBy(server.client(version, () => {}));
    const asked = performance.now();
    assert.deepStrictEqual(await outcome(visit(url)), [200, 'OK']);
    assert.ok(performance.now() - asked > 290, 'not before its time');
  });

  test(`${version}: refreshes keep a token alive beyond its time`, limit, async (t) => {
    const server = await operate(t, { TOKEN_EXPIRE_SECONDS: '1', SOCKET2ME_TOKEN_GRACE: '0' });
    const client = server.client(version, (request, respond) => respond('still here'), { refreshMs: 100 });
    const [url] = await publishedBy(client);
    const gone = [];
    client.on('disconnect', (reason) => gone.push(reason));
    const born = performance.now();
    const [status, text] = await event(client, 'refreshed', () => performance.now() - born > 2_000);
    assert.deepStrictEqual([status, text, gone], [200, 'OK', []]);
    assert.deepStrictEqual(await outcome(visit(url)), [200, 'still here']);
  });

  test(`${version}: a client whose token expires is disconnected, and takes a new token`, limit, async (t) => {
    const server = await operate(t, { TOKEN_EXPIRE_SECONDS: '1', SOCKET2ME_TOKEN_GRACE: '0' });
    const client = server.client(version, (request, respond) => respond('here'));
    const [url, token] = await publishedBy(client);
    const back = event(client, 'published');
    assert.deepStrictEqual(await event(client, 'disconnect'), ['io server disconnect']);
    const [newUrl, newToken] = await back;
    assert.deepStrictEqual(await outcome(visit(newUrl)), [200, 'here']);
    assert.notStrictEqual(newToken, token);
    assert.deepStrictEqual(await outcome(visit(url)), UNKNOWN);
  });

  test(`${version}: a client with an unknown token takes a new one`, limit, async (t) => {
    const server = await operate(t);
    const client = server.client(version, (request, respond) => respond('here'));
    const told = ['refused', 'refreshed', 'published'].map((name) => event(client, name));
    client.connect('A'.repeat(48));
    const [[refused], refreshed, [url]] = await Promise.all(told);
    assert.match(refused, /^token-not-found: /);
    assert.deepStrictEqual(refreshed, UNKNOWN);
    assert.deepStrictEqual(await outcome(visit(url)), [200, 'here']);
  });

  test(`${version}: a client whose server ends before it connects finds the next server`, limit, async (t) => {
    const server = await operate(t);
    const client = server.client(version, (request, respond) => respond('here'));
    const { text: token } = await visit(`${server.url}/new`);
    await server.end('SIGKILL');
    const [unreachable, refused] = ['unreachable', 'refused'].map((name) => event(client, name));
    client.connect(token);
    await unreachable;
    const published = event(client, 'published');
    await operate(t, { PORT: server.port });
    assert.match((await refused)[0], /^token-not-found: /);
    assert.deepStrictEqual(await outcome(visit((await published)[0])), [200, 'here']);
  });
}

test('PORT listens on all interfaces, and REDIS_URL is accepted', limit, async (t) => {
  const { port } = await operate(t, { REDIS_URL: 'redis://127.0.0.1:1' });
  const addresses = Object.values(networkInterfaces()).flat().filter(({ family }) => family === 'IPv4');
  for (const { address } of addresses) {
    const { status, text } = await visit(`http://${address}:${port}/new`);
    assert.deepStrictEqual([address, status, text.length], [address, 200, 48]);
  }
});

test('THROTTLE_INTERVAL_MAX delays requests to the next THROTTLE_INTERVAL_MS', limit, async (t) => {
  const server = await operate(t, { THROTTLE_INTERVAL_MS: '200', THROTTLE_INTERVAL_MAX: '1' });
  const asked = performance.now();
  for (let number = 0; number < 6; number += 1) assert.deepStrictEqual((await visit(`${server.url}/new`)).status, 200);
  // Every second request is delayed to the next window, and the first window began before the first request.
  assert.ok(performance.now() - asked > 2 * 200);
});

test('requests beyond THROTTLE_INTERVAL_BURST_MAX are refused with 429', limit, async (t) => {
  const limits = { THROTTLE_INTERVAL_MS: '60000', THROTTLE_INTERVAL_MAX: '3', THROTTLE_INTERVAL_BURST_MAX: '3' };
  const server = await operate(t, limits);
  const answers = await Promise.all(Array.from({ length: 5 }, () => visit(`${server.url}/new`)));
  assert.deepStrictEqual(answers.map(({ status }) => status).toSorted(), [200, 200, 200, 429, 429]);
});
