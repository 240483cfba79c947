// What becomes of an exchange when something goes on, or goes wrong, around it.

import assert from 'node:assert';
import { test } from 'node:test';
import { proxy } from './proxy.mjs';
import { TRANSPORTS, event, inbox, serve, visitor } from './support.mjs';

const limit = { timeout: 20_000 };
/** So long that an answer that comes is not the timeout's. */
const PATIENT = ['--response-timeout', '60s'];
const error = (answer) => Object.keys(JSON.parse(answer.text));

test('an upgrade amid traffic loses and doubles no exchange', { timeout: 30_000 }, async (t) => {
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
    // Every tenth is asked before the upgrade and answered after it.
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
  // Each of these keeps an exchange going until the socket has upgraded and there were enough.
  const worker = async () => {
    while (answers.length < 300 || !upgraded) {
      // Only the upgrade frees a worker whose exchange is held.
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

  test(`${name}: no ack in time is 200 OK`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '300ms']);
    const token = await server.token();
    const end = await server.end(token, transport);
    const requests = inbox(end);
    const answer = await server.visit(token);
    assert.deepStrictEqual([answer.status, answer.text], [200, 'OK']);
    // The answer that comes too late is for nobody.
    (await requests.next()).respond(201, 'late');
    const next = server.visit(token);
    (await requests.next()).respond(202, 'in time');
    assert.deepStrictEqual((await next).text, 'in time');
  });

  test(`${name}: --timeout-status 504`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '300ms', '--timeout-status', '504']);
    const token = await server.token();
    await server.end(token, transport);
    // An end without a handler never acks.
    const answer = await server.visit(token);
    assert.deepStrictEqual([answer.status, error(answer)], [504, ['Error']]);
  });

  test(`${name}: a visitor who hangs up disturbs nobody`, limit, async (t) => {
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

  test(`${name}: a visitor who hangs up within its body is not forwarded`, limit, async (t) => {
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
  test(`websocket: too large an answer of ${what} costs its exchange alone`, limit, async (t) => {
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
