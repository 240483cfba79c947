// What strangers try at a cluster: ids of sessions that they made, the port of the nodes, and headers of the hop.

import assert from 'node:assert';
import { createHmac, randomBytes } from 'node:crypto';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { io } from 'socket.io-client';
import { Cluster, until } from './cluster-nodes.mjs';
import { MISSING } from './cluster-processes.mjs';
import { RawVisitor } from './raw-visitor.mjs';
import { connected, visit } from './support.mjs';

const limit = { timeout: 30_000 };

/** Sends bytes to a port, and returns all that comes back until the other side closes. `more(text)` says what follows. */
async function say(port, bytes, more = () => undefined) {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(bytes);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    const next = more(text);
    if (next !== undefined) socket.write(next);
  });
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

describe('strangers at a cluster', { timeout: 120_000, skip: MISSING }, () => {
  const afters = [];
  const t = { after: (ended) => afters.unshift(ended) };
  let cluster, tunnel, end;
  const seen = [];

  before(async () => {
    cluster = await Cluster.start(t);
    tunnel = await cluster.tunnel();
    end = io(`${cluster.nodes[0].url}/${tunnel.token}`, { transports: ['websocket'], forceNew: true });
    t.after(() => end.disconnect());
    end.on('request', (request, respond) => {
      seen.push(request);
      respond(200, `got ${request.url}`);
    });
    await connected(end);
  });
  after(async () => {
    const stopped = await cluster?.stop().then(() => undefined, (error) => error);
    for (const ended of afters) await ended();
    if (stopped) throw stopped;
  });

  const dialled = () => cluster.nodes.reduce((sum, { fromPeers }) => sum + fromPeers.accepted, 0);
  const poll = ({ url }, sid) => visit(`${url}/socket.io/?EIO=4&transport=polling&sid=${encodeURIComponent(sid)}`);
  const open = async ({ url }) => {
    const { text } = await visit(`${url}/socket.io/?EIO=4&transport=polling`);
    return JSON.parse(text.slice(1)).sid;
  };

  test('an id of a session that a node has not made is unknown at every node, and no node dials for it', limit, async () => {
    const [one, other] = cluster.nodes;
    const [sid, own] = [await open(one), await cluster.tunnel()];
    // One that is good goes to its node: the first poll waits for nothing, since a CONNECT is answered.
    const joined = await visit(`${other.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: 'POST', body: `40/${own.token},` });
    assert.strictEqual(joined.text, 'ok');
    assert.strictEqual((await poll(other, sid)).status, 200);
    const changed = (at) => `${sid.slice(0, at)}${sid[at] === 'A' ? 'B' : 'A'}${sid.slice(at + 1)}`;
    const forged = [...Array(sid.length).keys()].map(changed);
    const before = dialled();
    for (const text of [...forged, sid.slice(1), `${sid}A`, one.id, `${one.id}${randomBytes(18).toString('base64url')}`, 'a'.repeat(10_000), '\u0000', '127.0.0.1:22']) {
      for (const node of cluster.nodes) {
        const { status, text: answer } = await poll(node, text);
        assert.strictEqual(status, 400, text);
        assert.strictEqual(JSON.parse(answer).code, 1, text);
      }
    }
    assert.strictEqual(dialled(), before);
    // A session that is over is unknown wherever it is asked for.
    await visit(`${one.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: 'POST', body: '1' });
    for (const node of cluster.nodes) {
      await until('session that is over', async () => (await poll(node, sid)).status === 400);
    }
  });

  test('an id of a session of another cluster is unknown', { ...limit, skip: MISSING }, async (t) => {
    const theirs = await Cluster.start(t, { count: 1, secret: 'the secret of a cluster that is another one' });
    const sid = await open(theirs.nodes[0]);
    for (const node of cluster.nodes) {
      assert.strictEqual(JSON.parse((await poll(node, sid)).text).code, 1);
    }
    await theirs.stop();
  });

  const hello = ({ from, to, version = 1, nonce = randomBytes(32).toString('base64url') }) =>
    `socket2me-hop\nversion: ${version}\nfrom: ${from}\nto: ${to}\nnonce: ${nonce}\n\n`;
  const request = 'GET / HTTP/1.1\r\nHost: hop\r\nX-Socket2Me-Hop: 1\r\n\r\n';

  test('the port of the nodes serves nobody who does not prove the secret', limit, async () => {
    const [one, other] = cluster.nodes;
    const names = { from: other.id, to: one.id };
    const wrong = (key) => `proof: ${createHmac('sha256', key).update('caller').digest('base64url')}\n\n`;
    for (const bytes of [request, 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n', '\n\n', randomBytes(5_000), 'socket2me-hop\n\n',
      `socket2me-hop\n${'a: b\n'.repeat(500)}\n`, hello({ ...names, version: 0 }), hello({ ...names, nonce: 'short' }), hello({ from: other.id, to: 'somebody' })]) {
      const answer = await say(one.hop, bytes);
      assert.doesNotMatch(answer, /HTTP|proof/, String(bytes).slice(0, 60));
    }
    for (const key of ['', 'a secret of my own, which is long enough']) {
      const answer = await say(one.hop, hello(names), (text) => (text.endsWith('\n\n') ? `${wrong(key)}${request}` : undefined));
      assert.match(answer, /^socket2me-hop\n[^]*\nproof: /);
      assert.doesNotMatch(answer, /HTTP/);
    }
    // Its own proof is of the other direction.
    const reflected = await say(one.hop, hello(names), (text) => (text.endsWith('\n\n') ? `${text.slice(text.indexOf('proof: '))}${request}` : undefined));
    assert.doesNotMatch(reflected, /HTTP/);
  });

  test('what a node has said once is worth nothing when somebody else says it', limit, async () => {
    const [one, other] = cluster.nodes;
    assert.strictEqual((await visit(`${other.url}/go/${tunnel.token}/recorded`)).text, 'got /recorded');
    one.fromPeers.shake();
    const said = await until('connection between nodes', () => one.fromPeers.said.find((text) => text.includes('/recorded')));
    const [ours] = said.split('\n\n');
    const rest = said.slice(ours.length + 2);
    const count = seen.length;
    assert.doesNotMatch(await say(one.hop, said), /HTTP/);
    assert.doesNotMatch(await say(one.hop, `${ours}\n\n`, (text) => (text.endsWith('\n\n') ? rest : undefined)), /HTTP/);
    assert.strictEqual(seen.length, count, 'a request that was recorded has reached an end');
    for (const node of cluster.nodes) assert.strictEqual((await visit(`${node.url}/go/${tunnel.token}/after`)).text, 'got /after');
  });

  test('headers of the hop are nothing when a visitor sends them', limit, async () => {
    const stamps = ['1', 'refused', 'elsewhere', '{"kind":"ping"}', '{"kind":"tell"}', `1 ${'A'.repeat(43)}`];
    for (const stamp of stamps) {
      for (const lines of [`X-Socket2Me-Hop: ${stamp}`, `Connection: x-socket2me-hop\r\nX-Socket2Me-Hop: ${stamp}`, `Connection: close, X-Socket2Me-Hop, x-forwarded-for, content-length\r\nx-socket2me-hop: ${stamp}`]) {
        const got = [];
        for (const { listen } of cluster.nodes) {
          const visitor = new RawVisitor(listen);
          const bytes = `POST /go/${tunnel.token}/stamped HTTP/1.1\r\nHost: a\r\n${lines}\r\nTE: trailers, x\r\nExpect: 100-continue\r\nX-Own: kept\r\nContent-Length: 5\r\n\r\nhello`;
          const [answer] = await visitor.one(bytes);
          visitor.close();
          assert.strictEqual(answer?.status, 200, `${lines}: ${JSON.stringify(answer)}`);
          const { headers, method, url, body } = seen.at(-1);
          const { 'x-request-id': _, ...rest } = headers;
          got.push({ headers: rest, method, url, body: `${body}` });
        }
        assert.deepStrictEqual(got[1], got[0], 'over the hop a request is another one');
        assert.deepStrictEqual(got[2], got[0], 'over the hop a request is another one');
        assert.strictEqual(got[0].headers['x-own'], 'kept');
      }
    }
  });

  test('a request of two lengths is over the hop what it is without', limit, async () => {
    const path = `/go/${tunnel.token}`;
    const inner = `GET ${path}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n`;
    const tricks = {
      'CL.TE': `Content-Length: ${inner.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      'TE.CL': `Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`,
      'two lengths': `Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
      'TE with a space': `Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${inner}`,
      'TE twice': `Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${inner}`,
      'TE by Connection': `Connection: Transfer-Encoding, close\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${inner}`,
      'a chunk that lies': `Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;a=b\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n`,
    };
    for (const [name, rest] of Object.entries(tricks)) {
      const got = [];
      for (const { listen } of cluster.nodes) {
        const count = seen.length;
        const bytes = `POST ${path}/outer HTTP/1.1\r\nHost: a\r\n${rest}`;
        const answers = await new RawVisitor(listen).all(bytes);
        got.push({ statuses: answers.map(({ status }) => status), urls: seen.slice(count).map(({ method, url, body }) => `${method} ${url} ${body}`) });
      }
      assert.deepStrictEqual(got[1], got[0], name);
      assert.deepStrictEqual(got[2], got[0], name);
      if (name !== 'a chunk that lies') assert.ok(got[0].statuses.length > 0, name);
    }
  });
});
