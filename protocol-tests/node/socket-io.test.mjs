// The cases of the published Socket.IO v5 suite, written anew from their description (protocol.md, F.3), against
// `examples/echo.rs`.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Echo, engineIoCases } from './echo-support.mjs';

describe('Socket.IO v5', () => {
  let echo;
  before(async () => {
    echo = await Echo.start('socket.io');
  });
  after(() => echo?.stop());

  /** Asks to join: the answer must hold a `sid` and nothing else, and come before the event `auth`. */
  const join = async (socket, { namespace = '', payload = '', auth = '{}' } = {}) => {
    socket.send(`40${namespace}${payload}`);
    const answer = await socket.next();
    assert.ok(answer.startsWith(`40${namespace}{`), answer);
    const { sid, ...rest } = JSON.parse(answer.slice(2 + namespace.length));
    assert.equal(typeof sid, 'string');
    assert.deepEqual(rest, {});
    assert.equal(await socket.next(), `42${namespace}["auth",${auth}]`);
  };

  const joined = async () => {
    const socket = await echo.openWebSocket();
    await join(socket);
    return socket;
  };

  /** These messages in, those out. */
  const exchange = async (socket, sent, expected) => {
    for (const message of sent) socket.send(message);
    for (const message of expected) assert.deepEqual(await socket.next(), message);
  };

  const closesUpon = async (socket, message) => {
    socket.send(message);
    assert.deepEqual(await socket.closed(), []);
  };

  const binaries = [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])];
  const placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}';

  describe('Engine.IO part', () => {
    const cases = engineIoCases(() => echo, join);

    describe('handshake', () => {
      describe('HTTP long-polling', () => {
        it('should successfully open a session', cases.opensOverPolling);
        it("should fail with an invalid 'EIO' query parameter", cases.refusesEioOverPolling);
        it("should fail with an invalid 'transport' query parameter", cases.refusesTransportOverPolling);
        it('should fail with an invalid request method', cases.refusesMethodOverPolling);
      });

      describe('WebSocket', () => {
        it('should successfully open a session', cases.opensOverWebSocket);
        it("should fail with an invalid 'EIO' query parameter", cases.refusesEioOverWebSocket);
        it("should fail with an invalid 'transport' query parameter", cases.refusesTransportOverWebSocket);
      });
    });

    describe('heartbeat', () => {
      describe('HTTP long-polling', () => {
        it('should send ping/pong packets', cases.heartbeatOverPolling);
        it('should close the session upon ping timeout', cases.pingTimeoutOverPolling);
      });

      describe('WebSocket', () => {
        it('should send ping/pong packets', cases.heartbeatOverWebSocket);
        it('should close the session upon ping timeout', cases.pingTimeoutOverWebSocket);
      });
    });

    describe('close', () => {
      it('should forcefully close the session over HTTP long-polling', cases.closesOverPolling);
      it('should forcefully close the session over WebSocket', cases.closesOverWebSocket);
    });

    describe('upgrade', () => {
      it('should successfully upgrade from HTTP long-polling to WebSocket', cases.upgrades);
      it('should ignore HTTP requests with same sid after upgrade', cases.ignoresPollsAfterUpgrade);
      it('should ignore WebSocket connection with same sid after upgrade', cases.ignoresWebSocketsAfterUpgrade);
    });
  });

  describe('connect', () => {
    const joins = (request) => async () => join(await echo.openWebSocket(), request);

    it('should allow connection to the main namespace', joins());
    it(
      'should allow connection to the main namespace with a payload',
      joins({ payload: '{"token":"123"}', auth: '{"token":"123"}' }),
    );
    it('should allow connection to a custom namespace', joins({ namespace: '/custom,' }));
    it(
      'should allow connection to a custom namespace with a payload',
      joins({ namespace: '/custom,', payload: '{"token":"abc"}', auth: '{"token":"abc"}' }),
    );

    it('should disallow connection to an unknown namespace', async () => {
      const socket = await echo.openWebSocket();
      await exchange(socket, ['40/random'], ['44/random,{"message":"Invalid namespace"}']);
    });

    it('should disallow connection with an invalid handshake', async () => {
      await closesUpon(await echo.openWebSocket(), '4abc');
    });

    it('should close the connection if no handshake is received', async () => {
      const silent = await echo.openWebSocket();
      assert.deepEqual(await silent.closed(), ['2']);

      // One that answers heartbeats lives until the connect timeout of 1000 ms, and no longer.
      const alive = await echo.openWebSocket();
      for (let round = 0; round < 3; round++) await exchange(alive, [], ['2']).then(() => alive.send('3'));
      assert.deepEqual(await alive.closed(), []);
    });
  });

  describe('disconnect', () => {
    it('should disconnect from the main namespace', async () => {
      await exchange(await joined(), ['41'], ['2']);
    });

    it('should connect then disconnect from a custom namespace', async () => {
      const socket = await joined();
      await join(socket, { namespace: '/custom,' });
      const message = '42["message","message to main namespace"]';
      await exchange(socket, ['41/custom', message], ['42["message-back","message to main namespace"]']);
    });
  });

  describe('message', () => {
    it('should send a plain-text packet', async () => {
      await exchange(
        await joined(),
        ['42["message",1,"2",{"3":[true]}]'],
        ['42["message-back",1,"2",{"3":[true]}]'],
      );
    });

    it('should send a packet with binary attachments', async () => {
      await exchange(
        await joined(),
        [`452-["message",${placeholders}]`, ...binaries],
        [`452-["message-back",${placeholders}]`, ...binaries],
      );
    });

    it('should send a plain-text packet with an ack', async () => {
      await exchange(
        await joined(),
        ['42456["message-with-ack",1,"2",{"3":[false]}]'],
        ['43456[1,"2",{"3":[false]}]'],
      );
    });

    it('should send a packet with binary attachments and an ack', async () => {
      await exchange(
        await joined(),
        [`452-789["message-with-ack",${placeholders}]`, ...binaries],
        [`462-789[${placeholders}]`, ...binaries],
      );
    });

    it('should close the connection upon invalid format (unknown packet type)', async () => {
      await closesUpon(await joined(), '4abc');
    });

    it('should close the connection upon invalid format (invalid payload format)', async () => {
      await closesUpon(await joined(), '42{}');
    });

    it('should close the connection upon invalid format (invalid ack id)', async () => {
      await closesUpon(await joined(), '42abc["message-with-ack",1,"2",{"3":[false]}]');
    });
  });
});
