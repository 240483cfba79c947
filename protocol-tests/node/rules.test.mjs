// Rules of tunnels: what senders of webhooks sign with their own libraries passes, and nothing else does.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sign as signGithub, verify as verifyGithub } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import twilio from 'twilio';
import { binary, byPath, event, serve, visit } from './support.mjs';

const limit = { timeout: 60_000 };
const SECRET = 'a secret of the sender';
const STANDARD_SECRET = `whsec_${Buffer.from(SECRET).toString('base64')}`;
const stripe = new Stripe('sk_test_123');
const now = () => Math.floor(Date.now() / 1000);
const asText = (body) => body.toString('latin1');

/** How each vendor's library signs a body for a URL at a time, as headers. */
const VENDORS = {
  github: {
    secret: SECRET,
    /** What the library does not sign. */
    leavesOut: 'empty',
    sign: async (body) => ({ 'X-Hub-Signature-256': await signGithub(SECRET, body.toString()) }),
  },
  stripe: {
    secret: `whsec_${SECRET}`,
    sign: (body, { time }) => ({
      'Stripe-Signature': stripe.webhooks.generateTestHeaderString({
        payload: body.toString(), secret: `whsec_${SECRET}`, timestamp: time,
      }),
    }),
    hasTime: true,
  },
  standard: {
    secret: STANDARD_SECRET,
    older: `whsec_${Buffer.from('an older one').toString('base64')}`,
    sign: (body, { time }) => ({
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(time),
      'webhook-signature': new Webhook(STANDARD_SECRET).sign('msg_1', new Date(time * 1000), body.toString()),
    }),
    hasTime: true,
  },
  twilio: {
    secret: SECRET,
    leavesOut: 'empty',
    sign: (body, { url, type }) => {
      const isForm = type === FORM;
      const fields = isForm ? Object.fromEntries(new URLSearchParams(body.toString())) : {};
      return { 'X-Twilio-Signature': twilio.getExpectedTwilioSignature(SECRET, url, fields) };
    },
    /** The hash of a body that is no form stands in the URL. */
    query: (body, type) => (type === FORM ? '?a=1&b=%20' : `?bodySHA256=${twilio.getExpectedBodyHash(body.toString())}`),
  },
};
const FORM = 'application/x-www-form-urlencoded';
const BODIES = {
  json: ['application/json', Buffer.from('{"amount": 1e2, "name": "Zoë"}')],
  form: [FORM, Buffer.from('To=%2B15551234&From=%2B15559876&Body=a+b%26c&Empty=')],
  empty: ['application/json', Buffer.alloc(0)],
  large: ['text/plain', Buffer.alloc((1 << 20) - 1, 'large ')],
};

async function tunnel(t, rules) {
  const server = await serve(t);
  const made = await visit(`${server.url}/new`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ rules }),
  });
  assert.strictEqual(made.status, 201, made.text);
  const { token, key, path_url } = JSON.parse(made.text);
  const requests = [];
  const socket = server.socket(token, { auth: { key } });
  socket.on('request', (request, respond) => {
    requests.push(request);
    respond(200, 'taken');
  });
  await event(socket, 'connect');
  return { url: byPath(path_url, server), requests };
}

for (const [preset, { secret, older = 'an older one', leavesOut, sign, query, hasTime }] of Object.entries(VENDORS)) {
  test(`${preset}: what the vendor's library signs passes, and what was changed does not`, limit, async (t) => {
    const { url, requests } = await tunnel(t, { verify: { preset, secrets: [older, secret] } });
    const send = async (type, body, { time = now(), change = (headers, body) => ({ headers, body }) } = {}) => {
      const target = `${url}/hook${query?.(body, type) ?? ''}`;
      const signed = await sign(body, { time, url: target, type });
      const changed = change({ 'Content-Type': type, ...signed }, body);
      const { status, headers } = await visit(target, { method: 'POST', headers: changed.headers, body: changed.body });
      return headers['x-socket2me-error'] ?? status;
    };
    for (const [name, [type, body]] of Object.entries(BODIES)) {
      if (name === leavesOut) continue;
      assert.strictEqual(await send(type, body), 200, name);
      assert.strictEqual(requests.at(-1).headers['x-socket2me-verified'], preset);
      if (body.length === 0) continue;
      const flipped = Buffer.from(body);
      flipped[body.length >> 1] ^= 1;
      assert.strictEqual(await send(type, body, { change: (headers) => ({ headers, body: flipped }) }), 'signature-wrong', name);
    }
    const [type, body] = BODIES.json;
    const without = (headers, body) => ({ headers: { 'Content-Type': type }, body });
    assert.strictEqual(await send(type, body, { change: without }), 'signature-missing');
    for (const seconds of hasTime ? [-310, 310] : []) {
      assert.strictEqual(await send(type, body, { time: now() + seconds }), 'signature-expired', seconds);
    }
    if (hasTime) assert.strictEqual(await send(type, body, { time: now() - 290 }), 200);
    assert.strictEqual(await send('text/plain', Buffer.alloc((1 << 20) + 1)), 'body-too-large');
  });
}

test('a compressed body is signed as it came, and the end can check it once more', limit, async (t) => {
  const { url, requests } = await tunnel(t, { verify: { preset: 'github', secrets: [SECRET] } });
  const body = gzipSync('{"a":1}');
  const signature = `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`;
  const headers = { 'Content-Type': 'application/octet-stream', 'Content-Encoding': 'gzip', 'X-Hub-Signature-256': signature };
  const answer = await visit(url, { method: 'POST', headers, body });
  assert.strictEqual(answer.status, 200, answer.text);
  assert.deepStrictEqual(requests[0].body, body);
  const json = '{"a": 1}';
  const signed = await signGithub(SECRET, json);
  await visit(url, { method: 'POST', headers: { 'Content-Type': 'text/plain', 'X-Hub-Signature-256': signed }, body: json });
  assert.ok(await verifyGithub(SECRET, asText(Buffer.from(requests[1].body)), requests[1].headers['x-hub-signature-256']));
});

test('forward sets rules from flags and files, and takes them away', limit, async (t) => {
  const server = await serve(t);
  const folder = mkdtempSync(path.join(tmpdir(), 'socket2me-rules-'));
  t.after(() => rmSync(folder, { recursive: true, maxRetries: 3 }));
  const file = (name, content) => {
    writeFileSync(path.join(folder, name), content);
    return path.join(folder, name);
  };
  const app = http.createServer((request, response) => {
    request.resume().on('end', () => response.end(request.headers.authorization ?? 'nobody'));
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  t.after(() => app.close());
  const forward = async (...flags) => {
    const args = ['forward', String(app.address().port), '--server', server.url, '--url-mode', 'path', ...flags];
    const { SOCKET2ME_BIN, ...env } = { ...process.env, XDG_STATE_HOME: folder };
    const child = spawn(binary(), args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    t.after(() => child.kill('SIGKILL'));
    const [url] = await once(createInterface({ input: child.stdout }), 'line');
    const stop = () => {
      child.kill('SIGTERM');
      return exited;
    };
    return { url: byPath(url, server), stop };
  };
  const ask = async (url, headers = {}) => {
    const { status, headers: { 'x-socket2me-error': code }, text } = await visit(url, { method: 'POST', headers, body: 'x' });
    return code ?? `${status} ${text}`;
  };
  const basic = `--basic-file=${file('users', 'alice:open sesame\n')}`;
  const secrets = `--verify-secret-file=${file('secrets', `old\n${SECRET}\n`)}`;
  const authorization = `Basic ${Buffer.from('alice:open sesame').toString('base64')}`;
  const signature = { 'X-Hub-Signature-256': await signGithub(SECRET, 'x') };

  const ruled = await forward(basic, '--verify=github', secrets, '--methods=POST', '--rate=2/1h');
  assert.strictEqual(await ask(ruled.url), 'auth-required');
  assert.strictEqual(await ask(ruled.url, { authorization }), 'signature-missing');
  assert.strictEqual(await ask(ruled.url, { authorization, ...signature }), '200 nobody');
  assert.strictEqual((await visit(ruled.url)).status, 405);
  await ruled.stop();

  const kept = await forward();
  assert.strictEqual(kept.url, ruled.url);
  assert.strictEqual(await ask(kept.url), 'auth-required', 'rules stay with the tunnel');
  await kept.stop();

  const free = await forward('--no-rules');
  assert.strictEqual(await ask(free.url, { authorization: 'Bearer mine' }), '200 Bearer mine');
  await free.stop();
});
