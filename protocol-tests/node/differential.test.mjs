// What an end gets of a request, beside what the original made of it: generated requests, and a list of all differences.
// SOCKET2ME_SEED=7 SOCKET2ME_REQUESTS=100000 node --test differential.test.mjs runs others.

import assert from 'node:assert';
import { test } from 'node:test';
import { inspect, isDeepStrictEqual } from 'node:util';
import { DIFFERENCES, expected } from './differences.mjs';
import { original } from './original.mjs';
import { bytes, requests, smaller } from './random-requests.mjs';
import { RawVisitor } from './raw-visitor.mjs';
import { serve } from './support.mjs';

const DEFAULT = { seed: 13, count: 5_000 };
const SEED = Number(process.env.SOCKET2ME_SEED ?? DEFAULT.seed);
const COUNT = Number(process.env.SOCKET2ME_REQUESTS ?? DEFAULT.count);
const VISITORS = 8;
/** Differences that are not on the list are made small and shown, up to this many. */
const SHOWN = 5;

/** Starts the relay with an end for each of the tokens `parsed` and `raw`. */
async function relay(t) {
  const server = await serve(t, ['--response-timeout', '60s']);
  const events = [];
  const record = (event, respond) => respond(200, null, { 'x-event': String(events.push({ event }) - 1) });
  const tokens = { parsed: await server.token(), raw: await server.token() };
  await server.end(tokens.parsed, { transports: ['websocket'] }, record);
  await server.end(tokens.raw, { transports: ['websocket'], auth: { body: 'raw', rawHeaders: true } }, record);
  return { events, tokens, port: server.port };
}

/** Sends a request, and returns what became of it, and in `then` what became of the bytes behind it. */
async function ask({ visitor, events }, request, behind) {
  const sent = bytes(request);
  const answers = request.isOdd
    ? await visitor.all(Buffer.concat([sent, behind]))
    : await visitor.one(sent, request.first.startsWith('HEAD '));
  const [first, ...rest] = answers.map(({ status, headers }) => ({ ...events[headers['x-event']], status }));
  const { status, ...outcome } = first ?? {};
  // What follows is a request for one of two paths, or was not read as one.
  const then = rest.map(({ status, event }) => (event ? event.url.replace('/', '') : status));
  return outcome.event ? { ...outcome, then } : { status, then };
}

/** What is compared. Of a request that is refused that is its status alone. */
function compared({ status, unparsed, route = 200, event, then }, { isRaw }) {
  const refused = status ?? unparsed?.status ?? (route === 200 ? undefined : route);
  if (!event || refused) return { refused };
  const { headers, rawHeaders, method, url, query, search, httpVersion, body } = event;
  // An object that is made of text has no prototype but the usual one.
  return { headers, method, url, query, search, httpVersion, body, then, ...(isRaw && { rawHeaders }) };
}

/** The parts of one value that another has otherwise. */
function otherwise(one, other) {
  const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
  if (!isObject(one) || !isObject(other)) return one;
  const differing = Object.entries(one).filter(([key, value]) => !isDeepStrictEqual(value, other[key]));
  return Object.fromEntries(differing.map(([key, value]) => [key, otherwise(value, other[key])]));
}

test(`${COUNT} requests of seed ${SEED} reach an end as they reached the original's, but for the list`, { timeout: 120_000 + 20 * COUNT }, async (t) => {
  const relayed = await relay(t);
  const { tokens } = relayed;
  const reference = await original(t, Object.values(tokens));
  const behind = Buffer.from(['first', 'second']
    .map((path) => `GET /go/${tokens.parsed}/${path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`).join(''));
  const used = new Set();
  const failures = [];
  const queue = requests(SEED, COUNT, tokens);

  const visit = async () => {
    const here = { ...relayed, visitor: new RawVisitor(relayed.port) };
    const there = { ...reference, visitor: new RawVisitor(reference.port) };
    const compare = async (request, used) => {
      const [ours, theirs] = await Promise.all([
        ask(here, request, behind),
        expected(request, Object.values(tokens), (asked) => ask(there, asked, behind), used),
      ]);
      return [compared(ours, request), compared(theirs, request)];
    };
    for (const request of queue) {
      let [smallest, outcome] = [request, await compare(request, used)];
      if (isDeepStrictEqual(...outcome)) continue;
      const failure = {};
      failures.push(failure);
      for (let less = failures.length <= SHOWN && smaller(smallest), next = less && less.next(); less && !next.done; next = less.next()) {
        const found = await compare(next.value, new Set());
        if (isDeepStrictEqual(...found)) continue;
        [smallest, outcome] = [next.value, found];
        less = smaller(smallest);
      }
      Object.assign(failure, { request: smallest, ours: outcome[0], theirs: outcome[1] });
    }
    here.visitor.close();
    there.visitor.close();
  };
  await Promise.all(Array.from({ length: VISITORS }, visit));

  const shown = failures.slice(0, SHOWN).map(({ request, ours, theirs }) => {
    const text = bytes(request).latin1Slice().replaceAll(tokens.parsed, 'TOKEN').replaceAll(tokens.raw, 'RAW');
    return `${JSON.stringify(text).replaceAll('\x7f', '\\u007f')}\nhere ${inspect(otherwise(ours, theirs), { depth: 9, breakLength: 150 })}\nand as the list has it ${inspect(otherwise(theirs, ours), { depth: 9, breakLength: 150 })}\n`;
  });
  assert.equal(failures.length, 0, `${failures.length} of ${COUNT} requests of seed ${SEED} differ:\n${shown.join('\n')}`);
  if (SEED !== DEFAULT.seed || COUNT < DEFAULT.count) return;
  assert.deepEqual(DIFFERENCES.filter((entry) => !used.has(entry)).map(({ reason }) => reason), [], 'no request shows these differences');
});
