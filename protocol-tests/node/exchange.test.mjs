// What happens to an exchange when its end or its visitor upgrades, leaves, hangs up, is late or answers too much.

import assert from 'node:assert';
import { test } from 'node:test';
import { proxy } from './proxy.mjs';
import { TRANSPORTS, event, inbox, serve, visitor } from './support.mjs';

const limit = { timeout: 20_000 };
/** A timeout so long that an answer which arrives cannot be the timeout's. */
const PATIENT = ['--response-timeout', '60s'];
const error = (answer) => Object.keys(JSON.parse(answer.text));

test('an upgrade under load neither loses nor repeats an exchange', { timeout: 30_000 }, async (t) => {
  const server = await serve(t, PATIENT);
  const token = await server.token();
  let open;
  const { url } = await proxy(t, server.port, { gate: new Promise((resolve) => { open = resolve; }) });
  const seen = [];
  const held = [];
  let upgraded = false;
  let before;
  const end = await server.end(token, {}, (request, respond) => {
    seen.push(request.url);
    // Every tenth request arrives before the upgrade and is answered after it.
    if (!upgraded && seen.length % 10 === 0) held.push(() => respond(200, request.url));
    else respond(200, request.url);
  }, url);
  const { engine } = end.io;
  const upgrade = event(engine, 'upgrade').then(() => {
    upgraded = true;
    before = seen.length;
    held.forEach((answer) => answer());
  });
  assert.deepStrictEqual(engine.transport.name, 'polling');

  const answers = [];
  const start = () => {
    const path = `/${answers.length}`;
    return answers[answers.push(server.visit(token, path)) - 1];
  };
  // Each worker has one exchange at a time, until the socket has upgraded and 300 exchanges have begun.
  const worker = async () => {
    while (answers.length < 300 || !upgraded) {
      // A worker whose exchange is held continues at the upgrade.
      await (upgraded ? start() : Promise.race([start(), upgrade]));
      if (answers.length >= 60) open();
    }
  };
  await Promise.all([...Array.from({ length: 12 }, worker), upgrade]);

  const texts = (await Promise.all(answers)).map((answer) => `${answer.status} ${answer.text}`);
  const paths = answers.map((_, number) => `/${number}`);
  assert.deepStrictEqual(texts, paths.map((path) => `200 ${path}`));
  assert.deepStrictEqual(seen.toSorted(), paths.toSorted());
  assert.deepStrictEqual(engine.transport.name, 'websocket');
  const after = seen.length - before;
  assert.ok(held.length > 0 && before > 50 && after > 50, `${held.length} held, ${before} before, ${after} after`);
});

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  for (const [how, leave] of [
    ['leaves its namespace', (end) => end.disconnect()],
    ['closes its session', (end) => end.io.engine.close()],
  ]) {
    test(`${name}: an end that ${how} fails its open exchange at once`, limit, async (t) => {
      const server = await serve(t, PATIENT);
      const token = await server.token();
      const end = await server.end(token, { ...transport, reconnection: false });
      const requests = inbox(end);
      const open = server.visit(token);
      await requests.next();
      const left = performance.now();
      leave(end);
      const answer = await open;
      assert.ok(performance.now() - left < 2_000, 'at once');
      assert.deepStrictEqual(answer.status, 500);
      assert.deepStrictEqual(answer.headers['content-type'], 'application/json; charset=utf-8');
      assert.deepStrictEqual(JSON.parse(answer.text), { Error: 'client disconnected before it answered' });
    });
  }

  test(`${name}: without an ack in time the visitor gets 200 OK`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '300ms']);
    const token = await server.token();
    const end = await server.end(token, transport);
    const requests = inbox(end);
    const answer = await server.visit(token);
    assert.deepStrictEqual([answer.status, answer.text], [200, 'OK']);
    // An answer that comes too late must reach no visitor.
    (await requests.next()).respond(201, 'late');
    const next = server.visit(token);
    (await requests.next()).respond(202, 'in time');
    assert.deepStrictEqual((await next).text, 'in time');
  });

  test(`${name}: --timeout-status 504 replaces the 200 of a timeout`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '300ms', '--timeout-status', '504']);
    const token = await server.token();
    await server.end(token, transport);
    // An end without a handler never acks.
    const answer = await server.visit(token);
    assert.deepStrictEqual([answer.status, error(answer)], [504, ['Error']]);
  });

  test(`${name}: a visitor that hangs up disturbs no other`, limit, async (t) => {
    const server = await serve(t, PATIENT);
    const token = await server.token();
    const end = await server.end(token, transport);
    const requests = inbox(end);
    const { id } = end;
    const neighbour = server.visit(token, '/neighbour');
    const neighbours = await requests.next();
    const gone = visitor(`${server.url}/go/${token}/gone`);
    gone.end();
    const forNobody = await requests.next();
    gone.request.destroy();
    await event(gone.request, 'close');
    forNobody.respond(200, 'for nobody');
    neighbours.respond(200, 'for the neighbour');
    assert.deepStrictEqual((await neighbour).text, 'for the neighbour');
    const next = server.visit(token, '/next');
    (await requests.next()).respond(200, 'for the next');
    assert.deepStrictEqual((await next).text, 'for the next');
    assert.deepStrictEqual([end.id, end.connected, requests.unread], [id, true, 0]);
  });

  test(`${name}: a request whose visitor hangs up within the body is not forwarded`, limit, async (t) => {
    const server = await serve(t, PATIENT);
    const token = await server.token();
    const end = await server.end(token, transport);
    const requests = inbox(end);
    const headers = { 'Content-Length': 100 };
    const half = visitor(`${server.url}/go/${token}/half`, { method: 'POST', headers });
    await new Promise((resolve) => half.request.write('half of it', resolve));
    half.request.destroy();
    await event(half.request, 'close');
    const next = server.visit(token, '/next');
    const { request, respond } = await requests.next();
    respond(200, 'for the next');
    assert.deepStrictEqual([request.url, (await next).text, requests.unread], ['/next', 'for the next', 0]);
  });
}

for (const [what, answer] of [
  ['text', 'x'.repeat(400 << 10)],
  ['bytes', Buffer.alloc(400 << 10, 7)],
]) {
  test(`websocket: an oversized answer of ${what} fails only its own exchange`, limit, async (t) => {
    const server = await serve(t, [...PATIENT, '--max-body', '100KiB', '--max-payload', '200KiB']);
    const token = await server.token();
    const end = await server.end(token, TRANSPORTS.websocket);
    const requests = inbox(end);
    const { id } = end;
    const gone = [];
    end.on('disconnect', (reason) => gone.push(reason));
    const neighbour = server.visit(token, '/neighbour');
    const neighbours = await requests.next();
    const large = server.visit(token, '/large');
    (await requests.next()).respond(200, answer);
    const refused = await large;
    assert.deepStrictEqual([refused.status, error(refused)], [502, ['Error']]);
    neighbours.respond(200, 'for the neighbour');
    assert.deepStrictEqual((await neighbour).text, 'for the neighbour');
    const next = server.visit(token, '/next');
    (await requests.next()).respond(200, Buffer.from('for the next'));
    assert.deepStrictEqual((await next).text, 'for the next');
    assert.deepStrictEqual([end.id, gone], [id, []]);
  });
}
