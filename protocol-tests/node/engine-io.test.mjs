// The cases of the published Engine.IO v4 suite, written anew from their description (protocol.md, F.3), against
// `examples/echo.rs`. Sleeps are part of what is tested.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Echo, engineIoCases } from './echo-support.mjs';

describe('Engine.IO v4', () => {
  let echo;
  before(async () => {
    echo = await Echo.start('engine.io');
  });
  after(() => echo?.stop());

  const echoes = async (socket) => {
    socket.send('4hello');
    assert.equal(await socket.next(), '4hello');
  };
  const cases = engineIoCases(() => echo, echoes);

  describe('handshake', () => {
    describe('HTTP long-polling', () => {
      it('successfully opens a session', cases.opensOverPolling);
      it("fails with an invalid 'EIO' query parameter", cases.refusesEioOverPolling);
      it("fails with an invalid 'transport' query parameter", cases.refusesTransportOverPolling);
      it('fails with an invalid request method', cases.refusesMethodOverPolling);
    });

    describe('WebSocket', () => {
      it('successfully opens a session', cases.opensOverWebSocket);
      it("fails with an invalid 'EIO' query parameter", cases.refusesEioOverWebSocket);
      it("fails with an invalid 'transport' query parameter", cases.refusesTransportOverWebSocket);
    });
  });

  describe('message', () => {
    describe('HTTP long-polling', () => {
      const comesBack = (payload) => async () => {
        const query = await echo.open();
        assert.deepEqual(await echo.post(query, payload), { status: 200, body: 'ok' });
        assert.deepEqual(await echo.get(query), { status: 200, body: payload });
      };

      it('sends and receives a payload containing one plain text packet', comesBack('4hello'));
      it(
        'sends and receives a payload containing several plain text packets',
        comesBack('4test1\x1e4test2\x1e4test3'),
      );
      it('sends and receives a payload containing plain text and binary packets', comesBack('4hello\x1ebAQIDBA=='));

      it('closes the session upon invalid packet format', async () => {
        const query = await echo.open();
        await echo.post(query, 'abc').catch(() => {}); // any answer will do, a reset too
        assert.equal((await echo.get(query)).status, 400);
      });

      it('closes the session upon duplicate poll requests', async () => {
        const query = await echo.open();
        const first = echo.get(query);
        await sleep(5);
        const second = echo.get(`${query}&t=burst`);
        assert.deepEqual(await first, { status: 200, body: '1' });
        assert.ok([400, 500].includes((await second).status));
        assert.equal((await echo.get(query)).status, 400);
      });

      it('closes the session upon cancelled polling request', async () => {
        const query = await echo.open();
        const client = new AbortController();
        const cancelled = assert.rejects(echo.get(query, client.signal), { name: 'AbortError' });
        await sleep(5);
        client.abort();
        await cancelled;
        assert.equal((await echo.get(query)).status, 400);
      });
    });

    describe('WebSocket', () => {
      it('sends and receives a plain text packet', async () => {
        await echoes(await echo.openWebSocket());
      });

      it('sends and receives a binary packet', async () => {
        const socket = await echo.openWebSocket();
        socket.send(Buffer.from([1, 2, 3, 4]));
        assert.deepEqual(await socket.next(), Buffer.from([1, 2, 3, 4]));
      });

      it('closes the session upon invalid packet format', async () => {
        const socket = await echo.openWebSocket();
        socket.send('abc');
        assert.deepEqual(await socket.closed(), []);
      });
    });
  });

  describe('heartbeat', () => {
    describe('HTTP long-polling', () => {
      it('sends ping/pong packets', cases.heartbeatOverPolling);
      it('closes the session upon ping timeout', cases.pingTimeoutOverPolling);
    });

    describe('WebSocket', () => {
      it('sends ping/pong packets', cases.heartbeatOverWebSocket);
      it('closes the session upon ping timeout', cases.pingTimeoutOverWebSocket);
    });
  });

  describe('close', () => {
    it('forcefully closes the session over HTTP long-polling', cases.closesOverPolling);
    it('forcefully closes the session over WebSocket', cases.closesOverWebSocket);
  });

  describe('upgrade', () => {
    it('successfully upgrades from HTTP long-polling to WebSocket', cases.upgrades);
    it('ignores HTTP requests with same sid after upgrade', cases.ignoresPollsAfterUpgrade);
    it('ignores WebSocket connection with same sid after upgrade', cases.ignoresWebSocketsAfterUpgrade);
  });
});
