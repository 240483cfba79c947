// The cases of the published Engine.IO v3 and v4 suites, rewritten, against `examples/echo.rs`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { Echo, REVISIONS, engineIoCases } from './echo-support.mjs';

const FRAMED = Buffer.from('0006ff3468656c6c6f0105ff0401020304', 'hex');

/** Name, addition to the handshake's query, what is posted, and what the poll returns if it is not the same. */
const PAYLOADS = {
  3: [
    ['one plain text packet', '&b64=1', '6:4hello'],
    ['several plain text packets', '&b64=1', '6:4test16:4test26:4test3'],
    ['plain text and base64 packets', '&b64=1', '6:4hello10:b4AQIDBA=='],
    ['plain text and binary packets', '', '6:4hello10:b4AQIDBA==', FRAMED],
    ['plain text and binary packets, posted as bytes', '', FRAMED],
    ['plain text and binary packets, posted as bytes and asked for as text', '&b64=1', FRAMED, '6:4hello10:b4AQIDBA=='],
  ],
  4: [
    ['one plain text packet', '', '4hello'],
    ['several plain text packets', '', '4test1\x1e4test2\x1e4test3'],
    ['plain text and binary packets', '', '4hello\x1ebAQIDBA=='],
  ],
};

for (const [number, revision] of Object.entries(REVISIONS)) {
  describe(`Engine.IO v${number}`, () => {
    let echo;
    before(async () => {
      echo = await Echo.start('engine.io', revision);
    });
    after(() => echo?.stop());

    const echoes = async (socket) => {
      socket.send('4hello');
      assert.equal(await socket.next(), '4hello');
    };
    const cases = engineIoCases(revision, () => echo, echoes);

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
        for (const [what, extra, sent, received = sent] of PAYLOADS[number]) {
          it(`sends and receives a payload containing ${what}`, async () => {
            const query = await echo.open(extra);
            assert.deepEqual(await echo.post(query, sent), { status: 200, body: 'ok' });
            assert.deepEqual(await echo.get(query), { status: 200, body: received });
          });
        }

        it('closes the session upon invalid packet format', async () => {
          const query = await echo.open();
          await echo.post(query, 'abc').catch(() => {}); // any answer is fine, and so is a reset
          assert.equal((await echo.get(query)).status, 400);
        });

        it('closes the session upon duplicate poll requests', async () => {
          const query = await echo.open();
          const polls = await Promise.all([echo.get(query), echo.get(`${query}&t=burst`)]);
          // Either may come first: that one is told of the end.
          const [held, duplicate] = polls.sort((a, b) => a.status - b.status);
          assert.deepEqual(held, { status: 200, body: revision.payload('1') });
          assert.equal(duplicate.status, 400);
          assert.equal((await echo.get(query)).status, 400);
        });

        it('closes the session upon cancelled polling request', async () => {
          const query = await echo.open();
          await echo.cancelledPoll(query);
          assert.equal((await echo.get(query)).status, 400);
        });
      });

      describe('WebSocket', () => {
        it('sends and receives a plain text packet', async () => {
          await echoes(await echo.openWebSocket());
        });

        it('sends and receives a binary packet', async () => {
          const socket = await echo.openWebSocket();
          socket.send(revision.binary(1, 2, 3, 4));
          assert.deepEqual(await socket.next(), revision.binary(1, 2, 3, 4));
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

    // The published suites take a refusal without a 101 for an uncaught error.
    describe('second WebSocket of a session', () => {
      /** It gets its 101, and then nothing but its end. */
      const closesSecond = async (query) => assert.deepEqual(await (await echo.candidate(query)).closed(), []);

      const probes = async (socket) => {
        socket.send('2probe');
        assert.equal(await socket.next(), '3probe');
      };
      const upgrades = async (socket, query) => {
        await echo.polls(query, '6');
        socket.send('5');
        await echoes(socket);
      };

      // The reference takes this one for a candidate, and closes it only when upgradeTimeout is over.
      it('is closed after its 101 if the session was opened over a WebSocket', async () => {
        const socket = echo.websocket(`${revision.eio}&transport=websocket`);
        const { sid } = JSON.parse((await socket.next()).slice(1));
        await closesSecond(`${revision.eio}&transport=websocket&sid=${sid}`);
        await echoes(socket);
      });

      it('is closed after its 101 if the session was upgraded', async () => {
        const query = await echo.open();
        const socket = await echo.candidate(query);
        await probes(socket);
        await upgrades(socket, query);
        await closesSecond(query);
        await echoes(socket);
      });

      it('is closed after its 101 if the first one has yet to send its probe', async () => {
        const query = await echo.open();
        const socket = await echo.candidate(query);
        await closesSecond(query);
        await probes(socket);
        await upgrades(socket, query);
      });

      it('is closed after its 101 if the first one has sent its probe', async () => {
        const query = await echo.open();
        const socket = await echo.candidate(query);
        await probes(socket);
        await closesSecond(query);
        await upgrades(socket, query);
      });

      it('is refused without a 101 if there is no such session', async () => {
        const { raw } = echo.websocket(`${revision.eio}&transport=websocket&sid=unknown`);
        const [request, response] = await once(raw, 'unexpected-response');
        assert.equal(response.statusCode, 400);
        const body = Buffer.concat(await response.toArray()).toString();
        assert.deepEqual(JSON.parse(body), { code: 1, message: 'Session ID unknown' });
        request.destroy();
      });
    });
  });
}
