// Notices with official clients: what an end that asks for them hears, over every transport.

import assert from 'node:assert';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { connected, event, serve, visitor } from './support.mjs';

const require = createRequire(import.meta.url);
const limit = { timeout: 20_000 };
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const CLIENTS = Object.entries({
  '1.7.4': 'socket.io-client-1.7.4',
  '2.5.0': 'socket.io-client-2.5.0',
  '3.1.3': 'socket.io-client-3.1.3',
  '4.8.4': 'socket.io-client',
}).flatMap(([version, name]) => Object.entries(TRANSPORTS).map(([transport, transports]) => {
  const library = require(name);
  return { name: `${version} ${transport}`, io: library.io ?? library, isOld: Number(version[0]) < 3, transports };
}));

/** Creates an end that asks for notices, and has another option that there is not. */
function asking(server, token, { isOld, transports }) {
  const query = isOld ? '?notices=true&rawheaders=true' : '';
  const auth = isOld ? {} : { auth: { notices: true, rawheaders: true } };
  return server.socket(token + query, { transports, ...auth });
}

for (const client of CLIENTS) {
  test(`${client.name}: an end hears what goes wrong`, limit, async (t) => {
    const server = await serve(t, ['--response-timeout', '300ms'], { client: client.io });
    const token = await server.token();
    const end = asking(server, token, client);
    // The requests' names say what the end does with them.
    const late = [];
    end.on('request', ({ url, id }, respond) => {
      if (url === '/wrong') respond('200', 'body', { a: 'b' });
      if (url === '/late') late.push({ id, respond });
    });
    const noticed = (code) => event(end, 'notice', (notice) => notice.code === code).then(([notice]) => notice);
    const unknown = noticed('unknown-option');
    await connected(end);
    assert.deepStrictEqual(await unknown, {
      code: 'unknown-option',
      message: 'there is no option rawheaders: the options are body, rawHeaders, stream, notices, key',
    });

    const wrong = noticed('invalid-answer');
    const answer = await server.visit(token, '/wrong');
    const { id, message } = await wrong;
    assert.deepStrictEqual([answer.status, id], [502, answer.headers['x-request-id']]);
    assert.match(message, /a status in quotes is a body/);

    const timedOut = noticed('client-timed-out');
    await server.visit(token, '/late');
    assert.strictEqual((await timedOut).id, late[0].id);
    const lateAnswer = noticed('late-answer');
    late[0].respond(200);
    assert.strictEqual((await lateAnswer).id, undefined);

    const { request, end: send } = visitor(`${server.url}/go/${token}/late`);
    const [arrived, left] = [event(end, 'request'), noticed('visitor-left')];
    send();
    await arrived;
    request.on('error', () => {});
    request.destroy();
    assert.strictEqual((await left).id, late[1].id);

    const takenOver = noticed('taken-over');
    const gone = event(end, 'disconnect');
    await server.end(token, { transports: client.transports });
    await takenOver;
    await gone;
  });
}

test('an acknowledgement that is sent twice is noticed, where the client sends it', limit, async (t) => {
  const server = await serve(t);
  const token = await server.token();
  const end = await server.end(token, { auth: { notices: true } });
  // The official client sends the first call of a callback alone.
  end.on('request', (request, respond) => {
    respond(200, 'once');
    respond(200, 'twice');
  });
  end.on('notice', (notice) => assert.fail(notice.message));
  assert.strictEqual((await server.visit(token)).text, 'once');
  assert.strictEqual((await server.visit(token)).text, 'once');
});
