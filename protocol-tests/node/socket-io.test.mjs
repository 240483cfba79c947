// The cases of the published Socket.IO suites, protocol 4 and 5, rewritten, against `examples/echo.rs`.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Echo, REVISIONS, engineIoCases } from './echo-support.mjs';

/** The differences between the protocols that matter to the cases. */
const PROTOCOLS = {
  4: {
    revision: REVISIONS[3],
    /** A client of this protocol joins the main namespace by connecting. */
    greeting: ['40', '42["auth",{}]'],
    joins: [
      ['a custom namespace', { namespace: '/custom,' }],
      ['a custom namespace without its comma', { asked: '/custom', namespace: '/custom,' }],
      ['a custom namespace with a query', { asked: '/custom?token=abc,', namespace: '/custom,' }],
    ],
    checkJoined: (data) => assert.equal(data, ''),
    refusal: '"Invalid namespace"',
  },
  5: {
    revision: REVISIONS[4],
    greeting: [],
    joins: [
      ['the main namespace with a payload', { payload: '{"token":"123"}', auth: '{"token":"123"}' }],
      ['a custom namespace', { namespace: '/custom,' }],
      [
        'a custom namespace with a payload',
        { namespace: '/custom,', payload: '{"token":"abc"}', auth: '{"token":"abc"}' },
      ],
    ],
    checkJoined(data) {
      const { sid, ...rest } = JSON.parse(data);
      assert.equal(typeof sid, 'string');
      assert.deepEqual(rest, {});
    },
    refusal: '{"message":"Invalid namespace"}',
  },
};

for (const [number, { revision, greeting, joins, checkJoined, refusal }] of Object.entries(PROTOCOLS)) {
  describe(`Socket.IO v${number}`, () => {
    const joinsByConnecting = greeting.length > 0;
    let echo;
    before(async () => {
      echo = await Echo.start('socket.io', revision, greeting);
    });
    after(() => echo?.stop());

    /** Joins a namespace, and expects the answer, then the event `auth`. */
    const join = async (socket, { namespace = '', asked = namespace, payload = '', auth = '{}' } = {}) => {
      socket.send(`40${asked}${payload}`);
      const answer = await socket.next();
      assert.ok(answer.startsWith(`40${namespace}`), answer);
      checkJoined(answer.slice(2 + namespace.length));
      assert.equal(await socket.next(), `42${namespace}["auth",${auth}]`);
    };

    const joined = async (socket) => {
      if (!joinsByConnecting) await join(socket);
      return socket;
    };
    const open = async () => joined(await echo.openWebSocket());

    /** Sends some messages, and expects others in return. */
    const exchange = async (socket, sent, expected) => {
      for (const message of sent) socket.send(message);
      for (const message of expected) assert.deepEqual(await socket.next(), message);
    };

    const echoes = (socket) =>
      exchange(socket, ['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']);

    const closesUpon = async (socket, message) => {
      socket.send(message);
      assert.deepEqual(await socket.closed(), []);
    };

    const binaries = [revision.binary(1, 2, 3), revision.binary(4, 5, 6)];
    const placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}';

    describe('Engine.IO part', () => {
      const works = async (socket) => echoes(await joined(socket));
      const cases = engineIoCases(revision, () => echo, works);

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
      it('should allow connection to the main namespace', async () => echoes(await open()));

      for (const [what, request] of joins) {
        it(`should allow connection to ${what}`, async () => join(await echo.openWebSocket(), request));
      }

      it('should disallow connection to an unknown namespace', async () => {
        const socket = await echo.openWebSocket();
        await exchange(socket, ['40/random'], [`44/random,${refusal}`]);
        await echoes(await joined(socket));
      });

      it('should disallow connection with an invalid handshake', async () => {
        await closesUpon(await echo.openWebSocket(), '4abc');
      });

      if (joinsByConnecting) {
        it('should keep the connection if no handshake is received', async (t) => {
          const socket = await (await echo.another(t, '--ping-timeout', '20000')).openWebSocket();
          // The connect timeout is 1000 ms.
          for (let round = 0; round < 4; round++) await revision.beat(socket);
        });
      } else {
        it('should close the connection if no handshake is received', async (t) => {
          const silent = await (await echo.another(t, '--ping-timeout', '20000')).openWebSocket();
          assert.deepEqual(await silent.closed(), ['2']);

          const patient = await echo.another(t, '--ping-timeout', '20000', '--connect-timeout', '2000');
          const alive = await patient.openWebSocket();
          await revision.beat(alive);
          await revision.beat(alive);
          assert.deepEqual((await alive.closed()).filter((packet) => packet !== '2'), []);
        });
      }
    });

    describe('disconnect', () => {
      it('should disconnect from the main namespace', async (t) => {
        const socket = await joined(await (await echo.another(t, '--ping-timeout', '1000')).openWebSocket());
        socket.send('41');
        await revision.beat(socket);
        assert.deepEqual(await socket.closed(), revision.silence);
      });

      it('should connect then disconnect from a custom namespace', async () => {
        const socket = await open();
        await join(socket, { namespace: '/custom,' });
        socket.send('41/custom,');
        await echoes(socket);
      });
    });

    describe('message', () => {
      it('should send a plain-text packet', async () => {
        await echoes(await open());
      });

      it('should send a packet with binary attachments', async () => {
        await exchange(
          await open(),
          [`452-["message",${placeholders}]`, ...binaries],
          [`452-["message-back",${placeholders}]`, ...binaries],
        );
      });

      it('should send a plain-text packet with an ack', async () => {
        await exchange(
          await open(),
          ['42456["message-with-ack",1,"2",{"3":[false]}]'],
          ['43456[1,"2",{"3":[false]}]'],
        );
      });

      it('should send a packet with binary attachments and an ack', async () => {
        await exchange(
          await open(),
          [`452-789["message-with-ack",${placeholders}]`, ...binaries],
          [`462-789[${placeholders}]`, ...binaries],
        );
      });

      it('should close the connection upon invalid format (unknown packet type)', async () => {
        await closesUpon(await open(), '4abc');
      });

      it('should close the connection upon invalid format (invalid payload format)', async () => {
        await closesUpon(await open(), '42{}');
      });

      it('should close the connection upon invalid format (invalid ack id)', async () => {
        await closesUpon(await open(), '42abc["message-with-ack",1,"2",{"3":[false]}]');
      });
    });
  });
}
