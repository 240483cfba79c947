// The official client against `examples/chat.rs`. Hosts start as a copy of it, so it has to work.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';

const BINARY =
  process.env.SOCKET2ME_CHAT_BIN ?? fileURLToPath(new URL('../../target/debug/examples/chat', import.meta.url));

describe('the chat example', { timeout: 20_000 }, () => {
  let server;
  let url;
  const clients = [];

  before(async () => {
    server = spawn(BINARY, ['127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const failed = once(server, 'error').then(([error]) => {
      throw new Error(`cannot start ${BINARY}: build it with "cargo build --features serde --example chat"`, {
        cause: error,
      });
    });
    failed.catch(() => {});
    const [line] = await Promise.race([once(createInterface(server.stdout), 'line'), failed]);
    [, url] = /^listening on (\S+)$/.exec(line) ?? assert.fail(`unexpected line: ${line}`);
  });

  after(() => {
    for (const client of clients) client.disconnect();
    server?.kill();
  });

  const connect = (auth, options = {}) => {
    const client = io(url, { auth, forceNew: true, reconnection: false, ...options });
    clients.push(client);
    return client;
  };

  /** A client that has joined, and the number of those who are there. */
  const join = async (name, options) => {
    const client = connect({ name }, options);
    const [count] = await once(client, 'welcome');
    return { client, count };
  };

  it('tells everyone what one says, and the speaker how many hear it', async () => {
    const { client: ann } = await join('ann', { transports: ['websocket'] });
    const { client: bob, count } = await join('bob', { transports: ['polling'] });
    assert.equal(count, 2);
    const heard = [once(ann, 'said'), once(bob, 'said')];
    assert.equal(await ann.emitWithAck('say', 'hello, "b\u00f6b"'), 2);
    for (const [said] of await Promise.all(heard)) assert.deepEqual(said, { name: 'ann', text: 'hello, "b\u00f6b"' });
    const left = once(bob, 'disconnect');
    bob.emit('leave');
    assert.equal((await left)[0], 'io server disconnect');
    assert.equal(await ann.emitWithAck('say', 'anyone?'), 1);
  });

  it('gives a name to the newest client that asks for it', async () => {
    const { client: first } = await join('carl');
    const left = once(first, 'disconnect');
    const { client: second } = await join('carl');
    assert.equal((await left)[0], 'io server disconnect');
    const said = once(second, 'said');
    second.emit('say', 'me', () => {});
    assert.deepEqual(await said, [{ name: 'carl', text: 'me' }]);
  });

  it('refuses a client without a name', async () => {
    const [error] = await once(connect({}), 'connect_error');
    assert.equal(error.message, 'who are you? connect with auth: { name }');
  });
});
