// The access log beside what visitors saw: each exchange has one line, which says the same.

import assert from 'node:assert';
import { readFileSync } from 'node:fs';

const PROTOCOL = readFileSync(new URL('../../PROTOCOL.md', import.meta.url), 'utf8');

/** What a line may say came of an exchange: three words, and the codes of PROTOCOL.md, section 5. */
const OUTCOMES = new Set(['answered', 'timed-out-ok', 'visitor-left', ...PROTOCOL.match(/(?<=^\| `)[a-z-]+(?=` \| [`\d])/gm)]);

/** The longest that a line may be later than its visitor, in milliseconds: a busy machine. */
const LATE = 2_000;

/** The responses that visitors got, by id. */
const seen = new Map();

/** Notes a response: `sent` is the size of the request's body, and `took` how long the visitor waited, in milliseconds. */
export function saw(url, { method, path }, { status, headers, body }, sent, took) {
  const id = headers['x-request-id'];
  // Not every request begins an exchange.
  if (id === undefined) return;
  const port = Number(new URL(url).port);
  seen.set(id, { method, path, port, status, code: headers['x-socket2me-error'], received: body.length, sent, took });
}

/** Forgets the responses of the server at a port: its log was checked, or has perhaps not all of them. */
export function forget(port) {
  for (const [id, response] of seen) if (response.port === port) seen.delete(id);
}

/** Checks the log of the server at a port, in JSON. */
export function check(log, port) {
  const lines = log.split('\n').filter((line) => line.includes('"socket2me::access"')).map((line) => JSON.parse(line).fields);
  const byId = new Map(lines.map((line) => [line.id, line]));
  assert.equal(byId.size, lines.length, 'an exchange has two lines');
  for (const line of lines) {
    assert.ok(OUTCOMES.has(line.outcome), `no outcome: ${line.outcome}`);
    assert.ok(!line.path.includes('?'), `a query: ${line.path}`);
    assert.ok((line.end_ms ?? 0) + (line.held_ms ?? 0) <= line.duration_ms + 0.01, `more time at the end than in all: ${JSON.stringify(line)}`);
    // Who leaves in a response that streams has its head.
    if (line.status === undefined) assert.equal(line.outcome, 'visitor-left', JSON.stringify(line));
  }
  for (const [id, response] of seen) {
    const line = byId.get(id);
    if (response.port === port) assert.ok(line, `no line of the exchange ${id}: ${JSON.stringify(response)}`);
    if (line) compare(line, response, response.port === port);
  }
}

function compare(line, response, isDirect) {
  const { method, path, status, code, received, sent, took } = response;
  const both = `${JSON.stringify(line)} of ${JSON.stringify(response)}`;
  const outcome = code === undefined ? 'answered' : status === 200 ? 'timed-out-ok' : code;
  assert.deepEqual([line.status, line.outcome, line.response_bytes], [status, outcome, received], both);
  if (outcome === 'answered' && sent !== undefined) assert.equal(line.request_bytes, sent, both);
  assert.ok(line.duration_ms <= took + LATE, both);
  // A proxy may have written the request anew.
  if (!isDirect) return;
  assert.equal(line.method, method, both);
  // Tokens and keys are shortened, and what is long is cut.
  const shown = path.replace(/\?.*/s, '').replace(/^\/go\/[^/]*/, '')
    .replace(/(?<![0-9A-Za-z])([0-9A-Za-z]{8})([0-9A-Za-z]{40}|[0-9A-Za-z]{35})(?![0-9A-Za-z])/g, '$1…');
  assert.equal(line.path, shown.length > 512 ? `${shown.slice(0, 512)}…` : shown, both);
}
