// How ends connect, leave, reconnect and replace each other.

import assert from 'node:assert';
import { test } from 'node:test';
import { proxy } from './proxy.mjs';
import { TRANSPORTS, connected, event, inbox, serve, visit } from './support.mjs';

const limit = { timeout: 20_000 };
const answering = (text) => (request, respond) => respond(200, text);
const textOf = async (answer) => (await answer).text;

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: an end whose connection is cut reconnects by itself`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const { url, cut } = await proxy(t, server.port);
    const end = await server.end(token, transport, answering('here'), url);
    assert.deepStrictEqual(await textOf(server.visit(token)), 'here');
    const { id } = end;
    const [gone, back] = [event(end, 'disconnect'), event(end, 'connect')];
    cut();
    const [reason] = await gone;
    assert.match(reason, /^transport (close|error)$/);
    await back;
    assert.notDeepStrictEqual(end.id, id);
    assert.deepStrictEqual(await textOf(server.visit(token)), 'here');
  });

  test(`${name}: an end reconnects to a restarted server, which does not know its token`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const end = await server.end(token, transport);
    const gone = event(end, 'disconnect');
    const refused = event(end, 'connect_error', ({ message }) => message.includes('token not found'));
    await server.terminate();
    const [reason] = await gone;
    // After any other reason the client would not reconnect by itself.
    assert.match(reason, /^transport (close|error)$/);
    const restarted = await serve(t, [], { port: server.port });
    const [error] = await refused;
    assert.match(error.message, /token not found/);
    const fresh = await restarted.token();
    await restarted.end(fresh, transport, answering('again'));
    assert.deepStrictEqual(await textOf(restarted.visit(fresh)), 'again');
  });

  test(`${name}: one Manager serves two tokens`, limit, async (t) => {
    const server = await serve(t);
    const tokens = [await server.token(), await server.token()];
    const ends = tokens.map((token) => server.socket(token, { ...transport, forceNew: false }));
    ends.forEach((end, index) => end.on('request', answering(`end ${index}`)));
    await Promise.all(ends.map(connected));
    assert.strictEqual(ends[0].io, ends[1].io);
    assert.strictEqual(ends[0].io.engine.id, ends[1].io.engine.id);
    assert.notStrictEqual(ends[0].id, ends[1].id);
    const visits = [0, 1, 1, 0].map((index) => textOf(server.visit(tokens[index])));
    assert.deepStrictEqual(await Promise.all(visits), ['end 0', 'end 1', 'end 1', 'end 0']);
  });

  test(`${name}: with forceNew each token has a session of its own`, limit, async (t) => {
    const server = await serve(t);
    const tokens = [await server.token(), await server.token()];
    const join = (token, index) => server.end(token, { ...transport, forceNew: true }, answering(`end ${index}`));
    const ends = await Promise.all(tokens.map(join));
    assert.notStrictEqual(ends[0].io, ends[1].io);
    assert.notStrictEqual(ends[0].io.engine.id, ends[1].io.engine.id);
    const visits = [0, 1, 1, 0].map((index) => textOf(server.visit(tokens[index])));
    assert.deepStrictEqual(await Promise.all(visits), ['end 0', 'end 1', 'end 1', 'end 0']);
  });

  test(`${name}: after an end leaves one namespace the other still works`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '60s']);
    const tokens = [await server.token(), await server.token()];
    const [leaver, stayer] = tokens.map((token) => server.socket(token, { ...transport, forceNew: false }));
    await Promise.all([leaver, stayer].map(connected));
    const engine = stayer.io.engine.id;
    const [leavers, stayers] = [inbox(leaver), inbox(stayer)];
    const [lost, kept] = tokens.map((token) => server.visit(token));
    await leavers.next();
    const open = await stayers.next();
    leaver.disconnect();
    assert.deepStrictEqual((await lost).status, 500);
    open.respond(200, 'still here');
    assert.deepStrictEqual(await textOf(kept), 'still here');
    const next = server.visit(tokens[1]);
    (await stayers.next()).respond(200, 'and here');
    assert.deepStrictEqual(await textOf(next), 'and here');
    const without = await server.visit(tokens[0]);
    assert.deepStrictEqual([without.status, JSON.parse(without.text)], [500, { Error: 'client not connected' }]);
    assert.deepStrictEqual([stayer.connected, stayer.io.engine.id], [true, engine]);
    leaver.on('request', answering('joined again')).connect();
    await connected(leaver);
    // The earlier `inbox` still listens, but does not answer.
    assert.deepStrictEqual(await textOf(server.visit(tokens[0])), 'joined again');
    assert.deepStrictEqual(stayer.io.engine.id, engine);
  });

  test(`${name}: a newer end replaces the older one`, limit, async (t) => {
    const server = await serve(t);
    const token = await server.token();
    const older = await server.end(token, transport, answering('older'));
    assert.deepStrictEqual(await textOf(server.visit(token)), 'older');
    const gone = event(older, 'disconnect');
    const newer = await server.end(token, transport, answering('newer'));
    assert.deepStrictEqual(await textOf(server.visit(token)), 'newer');
    const [reason] = await gone;
    assert.deepStrictEqual(reason, 'io server disconnect');
    assert.deepStrictEqual(await textOf(server.visit(token)), 'newer');
    assert.deepStrictEqual([older.connected, newer.connected], [false, true]);
  });

  test(`${name}: a replaced end finishes its open exchange`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '60s']);
    const token = await server.token();
    const older = await server.end(token, transport);
    const requests = inbox(older);
    const gone = event(older, 'disconnect');
    const open = server.visit(token);
    const { respond } = await requests.next();
    await server.end(token, transport, answering('newer'));
    assert.deepStrictEqual(await textOf(server.visit(token)), 'newer');
    respond(200, 'older');
    assert.deepStrictEqual(await textOf(open), 'older');
    assert.deepStrictEqual((await gone)[0], 'io server disconnect');
  });

  test(`${name}: an expired token disconnects its end`, limit, async (t) => {
    const server = await serve(t, ['--token-grace', '0'], { env: { TOKEN_EXPIRE_SECONDS: '1' } });
    const token = await server.token();
    const end = await server.end(token, transport);
    const [reason] = await event(end, 'disconnect');
    assert.deepStrictEqual(reason, 'io server disconnect');
    for (const path of [`/refresh/${token}`, `/go/${token}`]) {
      const answer = await visit(server.url + path);
      assert.deepStrictEqual([answer.status, JSON.parse(answer.text)], [500, { Error: 'token not found' }], path);
    }
    const refused = event(end, 'connect_error');
    end.connect();
    assert.match((await refused)[0].message, /token not found/);
  });
}

test('a refreshed token keeps its end', limit, async (t) => {
  const server = await serve(t, ['--token-grace', '0'], { env: { TOKEN_EXPIRE_SECONDS: '2' } });
  const [kept, left] = [await server.token(), await server.token()];
  const end = await server.end(kept, TRANSPORTS.websocket, answering('still here'));
  const witness = await server.end(left, TRANSPORTS.websocket);
  const gone = event(witness, 'disconnect');
  const timer = setInterval(() => visit(`${server.url}/refresh/${kept}`), 250);
  t.after(() => clearInterval(timer));
  await gone;
  assert.deepStrictEqual([end.connected, await textOf(server.visit(kept))], [true, 'still here']);
});
