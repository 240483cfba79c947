// Requests as bytes, by a seed. A byte is a character up to U+00FF here. What is odd is rare, and rarely two things at once.

/** Random numbers by a seed (mulberry32). */
class Dice {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 to 1, without 1. */
  roll() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number below the limit. */
  below(limit) { return Math.floor(this.roll() * limit); }
  chance(part) { return this.roll() < part; }
  pick(list) { return list[this.below(list.length)]; }
  /** Up to `most` of a list, in any order and with repeats; fewer are likelier. */
  some(list, most) { return Array.from({ length: this.below(this.below(most + 1) + 1) }, () => this.pick(list)); }
}

const utf8 = (text) => Buffer.from(text).toString('latin1');

const METHODS = [
  ...Array(8).fill('GET'), ...Array(8).fill('POST'), 'PUT', 'PUT', 'DELETE', 'HEAD', 'HEAD', 'PATCH', 'OPTIONS', 'PROPFIND', 'TRACE',
];
const ODD_METHODS = ['QUERY', 'FOO', 'get', 'M-SEARCH', 'X_Y!', 'PRI', 'SOURCE', 'CONNECT', 'G@T', 'G\xc9T', ''];

const SEGMENTS = [
  'a', 'b', 'help', '', '.', '..', '%2e%2e', '%2F', '%20', '%C3%A9', 'a;b=c', 'a:b', '@', "'", '(x)', '*', 'a+b', 'a,b',
  '$', '~', '!', '-_', '100%25', 'index.html', 'go', 'new', '__proto__', 'x'.repeat(300),
];
const ODD_SEGMENTS = ['%', '%zz', utf8('é€'), utf8('😀'), '%ff', '%C3', '\xe9', '\xff', '"', '<x>', '`', '{x}', '|', '^', '\\', '[x]', '#', '#a?b', '\x7f', '\x01', '\t'];

const NAMES = [
  'a', 'b', 'l', 'a[b]', 'a[c]', 'a[]', 'l[]', 'a[0]', 'a[1]', 'a[20]', 'a[21]', 'a[100]', 'a[b][c]', 'a[][b]', 'a[b][]', 'a[0][x]', '0', '10',
  '[x]', '[]', 'a[', 'a]', 'a[b', 'a[b]c', 'a%5Bb%5D', 'a%5b%5d', '', 'a.b', 'a+b', '%20', '%C3%A9', '%zz', '%', '%ff', '%00',
  '__proto__', 'a[__proto__]', '__proto__[x]', 'constructor', 'toString', 'hasOwnProperty', 'a[constructor]', '_placeholder', 'a[_placeholder]',
  'num', 'a[b][c][d][e][f]', 'a[b][c][d][e][f][g][h]', 'a-b', 'utf8', '%F0%9F%98%80',
];
const VALUES = [
  '', '1', '2', 'x', 'true', 'null', '+', 'a+b', '%20', '%2B', '%26', '%3D', '=', '==', 'a=b', '[]', '[x]', ']=', '?', '/', '%', '%zz', '%ff',
  '%E2%82%AC', '%00', '%0D%0A', '%26%239786%3B', '&#9786;', ';', 'a;b', ',', 'a,b', '__proto__', '%5B', '%ED%A0%80', '\\u0041', "'",
];
const ODD_VALUES = [utf8('ü'), utf8('%zz€'), '\xe9', '\xc3', '"', '<', '`', '|', '^', '{', '#', '#x=y', '\x7f'];

/** Parameters as in a query or a form. `odd` values may be among them. */
function parameters(dice, odd) {
  if (dice.chance(0.004)) return Array.from({ length: 990 + dice.below(40) }, (_, index) => `p${index % 600}=${index}`).join('&');
  if (dice.chance(0.004)) return `${'a'}${'[x]'.repeat(dice.below(60))}=1`;
  const count = 1 + dice.below(5);
  const one = () => {
    const name = dice.pick(NAMES);
    if (dice.chance(0.1)) return name;
    return `${name}=${odd && dice.chance(0.03) ? dice.pick(ODD_VALUES) : dice.pick(VALUES)}`;
  };
  return Array.from({ length: count }, one).join(dice.chance(0.05) ? dice.pick(['&&', ';', '&amp;', '&=&']) : '&');
}

/** A target behind the token. */
function path(dice) {
  const segments = dice.some(SEGMENTS, 5);
  if (dice.chance(0.06)) segments.push(dice.pick(ODD_SEGMENTS));
  return segments.map((segment) => `/${segment}`).join('') + (dice.chance(0.15) ? '/' : '');
}

function target(dice, token) {
  const query = dice.chance(0.5) ? `?${dice.chance(0.1) ? '' : parameters(dice, true)}` : '';
  const root = dice.chance(0.02) ? dice.pick(['/GO/', '/Go/', '/go//', '/g%6f/', '/', '//go/', '/./go/', 'go/', '']) : '/go/';
  const name = dice.chance(0.01) ? dice.pick(['', 'x', token.slice(1), `%${token.charCodeAt(0).toString(16)}${token.slice(1)}`, `${token}=`]) : token;
  const origin = root.startsWith('/') && dice.chance(0.03)
    ? dice.pick(['http://test', 'http://other:8080', 'http://user:pw@other', 'HTTP://OTHER', 'https://[::1]:1', 'http://', 'ftp://other', 'x:', '//other'])
    : '';
  if (dice.chance(0.003)) return dice.pick(['*', '/', '', 'test:80', '?']);
  return `${origin}${root}${name}${path(dice)}${query}`;
}

const HEADER_NAMES = [
  'X-A', 'x-a', 'X-B', 'X-Some', 'Accept', 'Accept-Language', 'User-Agent', 'Authorization', 'Referer', 'From', 'Origin', 'If-Modified-Since',
  'If-Unmodified-Since', 'If-None-Match', 'ETag', 'Expires', 'Last-Modified', 'Location', 'Max-Forwards', 'Retry-After', 'Server', 'Age',
  'Date', 'Via', 'Range', 'Vary', 'Set-Cookie', 'Cookie', 'cookie', 'COOKIE', 'Cookie2', 'Cache-Control', 'Forwarded', 'X-Forwarded-For',
  'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Prefix', 'X-Forwarded-Port', 'X-Real-IP', 'X_Forwarded_For', 'X-Forwarded_For', 'X_A',
  'X-Request-Id', 'X_Request_Id', 'X-Socket2Me-Error', 'X-Socket2Me-', 'x_socket2me_x', 'Keep-Alive', 'Proxy-Connection', 'Proxy-Authorization',
  'Proxy-Authenticate', 'TE', 'Trailer', 'Upgrade-Insecure-Requests', 'Content-Language', 'Content-MD5', 'Content-Disposition', 'Expect_',
  '__proto__', '__PROTO__', 'constructor', 'toString', 'valueOf', 'hasOwnProperty', 'length', '0', 'X-é'.replace('é', '~'), "!#$%&'*+-.^_`|~",
  'num', 'Sec-Fetch-Mode', 'Sec-Fetch-Dest', 'Service-Worker', 'Transfer_Encoding', 'Content_Length', 'Connection_',
];
const HEADER_VALUES = [
  '1', '2', 'x', '', ' ', '\t', 'a, b', ',', ', ,', 'a;b=c', '"quoted, text"', 'a=1; b=2', 'a=1;', '; a=1', '=', ':', 'a:b', 'a  b', 'a\tb', '{}',
  '\xe9', utf8('é€😀'), '\xff\xfe', '\\', '"', '192.0.2.1', '192.0.2.1, 198.51.100.2', 'for=192.0.2.1;proto=https', 'https', 'example.org',
  'text/html', 'text/html,*/*;q=0.8', 'application/json', 'navigate', 'no-cors', 'script', 'serviceworker', 'Basic eDp5', 'gzip', 'trailers',
  'Thu, 01 Jan 1970 00:00:00 GMT', 'bytes=0-1', '*', 'x'.repeat(1000),
];
const ODD_HEADERS = [
  '_placeholder: 1', '_placeholder: true', '_Placeholder: x', 'Upgrade: websocket', 'Upgrade: h2c', 'Expect: 100-continue', 'expect: 100-Continue',
  'Expect: 200-ok', 'Expect:', 'Connection: close', 'Connection: keep-alive', 'Connection: X-A', 'Connection: x-a, X-B', 'Connection: close, x-some',
  'Connection: Upgrade', 'Connection: TE, cookie', 'Connection: content-type', 'Connection: host', 'Connection: content-length',
  'Connection: "x-a"', 'Connection: x-a;b', 'Connection: x-forwarded-for, user-agent', 'Connection: upgrade, keep-alive', 'Connection:',
  'Content-Encoding: gzip', 'Content-Encoding: identity', 'Content-Encoding: br', 'Content-Encoding:', 'Host: second', 'Service-Worker: script', 'Sec-Fetch-Dest: serviceworker',
  'Sec-Fetch-Mode: navigate', 'Accept: text/html',
];
/** Lines of a head that are no field, or one that readers may read in two ways. */
const BROKEN_LINES = [
  'no colon\r\n', ': no name\r\n', 'X-A : 1\r\n', 'X-A\t: 1\r\n', ' X-A: 1\r\n', 'X A: 1\r\n', 'X-\xe9: 1\r\n', 'X(A): 1\r\n', 'X"A: 1\r\n', 'X-A: 1\n',
  'X-A:\n', 'X-A: 1\r\n folded\r\n', 'X-A: 1\r\n\tfolded\r\n', 'X-A:\r\n folded\r\n', 'X-A: 1\r\n \r\n', 'X-A: 1\rX-B: 2\r\n', 'X-A: a\0b\r\n',
  'X-A: a\x01b\r\n', 'X-A: a\x7fb\r\n', 'X-A: a\x1bb\r\n', 'X-A:\x0b1\r\n', 'X-A: 1\x0c\r\n', 'X\0A: 1\r\n', 'X-A: 1\r\r\n', '\rX-A: 1\r\n', 'X-A: 1\n folded\n',
];
const HOSTS = ['', 'Test:80', 'a.example', '[::1]:3000', 'a b', 'a,b', 'user@host', 'h\xe9', 'http://x', '/', 'a:b:c', '_'];

/** Fields of a head, without `Host` and without those that frame the body. */
function fields(dice) {
  if (dice.chance(0.006)) return Array.from({ length: 90 + dice.below(20) }, (_, index) => `X-${index % 60}: ${index}\r\n`);
  if (dice.chance(0.002)) return [`X-A: ${'y'.repeat(dice.pick([20_000, 30_000, 300_000]))}\r\n`];
  const lines = dice.some(HEADER_NAMES, 9).map((name) => {
    const value = dice.pick(HEADER_VALUES);
    return `${name}${dice.chance(0.1) ? dice.pick([':', ':  ', ':\t', ': \t ']) : ': '}${value}${dice.chance(0.05) ? ' ' : ''}\r\n`;
  });
  // The same name again, so that lines meet.
  if (lines.length > 0 && dice.chance(0.3)) lines.push(dice.pick(lines).replace(/:.*/s, `: ${dice.pick(HEADER_VALUES)}\r\n`));
  if (dice.chance(0.12)) lines.splice(dice.below(lines.length + 1), 0, `${dice.pick(ODD_HEADERS)}\r\n`);
  return lines;
}

const TYPES = [
  'application/json', 'application/json', 'application/json', 'application/json; charset=utf-8', 'Application/JSON;Charset="UTF-8"',
  'application/x-www-form-urlencoded', 'application/x-www-form-urlencoded', 'application/x-www-form-urlencoded; charset=utf-8', 'text/plain',
  'text/plain; charset=iso-8859-1', 'text/html;charset=UTF-8', 'application/octet-stream', 'image/png', 'multipart/form-data; boundary=x',
  'application/xml', 'image/svg+xml',
];
const ODD_TYPES = [
  'application/json; charset=iso-8859-1', 'application/json;charset=latin1', 'application/json; charset=utf-16', 'application/json; charset=us-ascii',
  'application/json; charset=x', 'application/json;', 'application/json; charset', 'application/json; charset=', 'application/json; a="b; charset=x"',
  'application/json , text/plain', 'application/ld+json', 'application/vnd.api+json; charset=utf-8', 'application/json5', 'text/json', 'application/graphql',
  'application/x-www-form-urlencoded; charset=iso-8859-1', 'application/x-www-form-urlencoded; charset=x', 'text/', '/json', 'json', '*/*', '', ' ',
  'application/x-ndjson', 'application/yaml', 'text/plain; charset=utf-16le', 'text/xml; charset="us-ascii"', '\xe9', 'application/json\xe9',
  'application/json; charset=utf-8; charset=x', 'APPLICATION/X-WWW-FORM-URLENCODED', 'application/x-www-form-urlencoded;', 'application/json;charset=utf8',
];
const JSON_BODIES = [
  '{}', '[]', '{"a":1}', ' {"a":[1,null,true]} ', `{"text":"${utf8('é€😀')}"}`, '{"__proto__":{"x":1}}', '{"constructor":1}', '{"a":1,"a":2}', '{"\\u0061":"\\ud800"}',
  '[1.0,1e400,-0,12345678901234567890]', '\t\r\n{"a":"b"}\n', '{"_placeholder":true,"num":0}', '[[[[[[[[]]]]]]]]',
];
const ODD_JSON = [
  '1', '"text"', 'null', 'true', ' "x"', '{', '{"a":}', '[1,]', "{'a':1}", '{"a":1}x', '{"a":"\t"}', '\xef\xbb\xbf{"a":1}', '\xef\xbb\xbf', '{"a":"\xe9"}', '{"a":"\xff"}', ' ',
  '\n', '{"a":"\0"}', '{"a":01}', '[NaN]', '//c\n{}', '\xfe\xff\0{\0}', '\xff\xfe{\0}\0', '\x1f\x8b\x08\0', '{"a":"\xed\xa0\x80"}',
];
const OTHER_BODIES = ['x', 'line\n', utf8('größer €😀'), '\x89PNG\r\n\x1a\n\0\xff', '--x\r\n\r\n--x--\r\n', '<a/>', '\xef\xbb\xbfx', '\xff', '\0', 'x'.repeat(5000), '{"a":1}', 'a=1'];

/** A body, and the line that says its type. */
function content(dice) {
  const type = dice.chance(0.15) ? dice.pick(ODD_TYPES) : dice.pick(TYPES);
  const lines = dice.chance(0.04) ? [] : [`${dice.chance(0.1) ? 'content-type' : 'Content-Type'}: ${type}\r\n`];
  if (dice.chance(0.01)) lines.push(`Content-Type: ${dice.pick(TYPES)}\r\n`);
  const text = () => {
    if (dice.chance(0.1)) return '';
    if (/json/i.test(type)) return dice.chance(0.2) ? dice.pick(ODD_JSON) : dice.pick(JSON_BODIES);
    if (/form-url/i.test(type)) return `${dice.chance(0.02) ? '\xef\xbb\xbf' : ''}${parameters(dice, true)}`;
    return dice.pick(OTHER_BODIES);
  };
  return { lines, text: dice.chance(0.03) ? dice.pick([...ODD_JSON, ...OTHER_BODIES]) : text() };
}

/** The body in chunks, with extensions and trailers here and there. */
function chunks(dice, text) {
  const size = 1 + dice.below(Math.max(1, text.length));
  const parts = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
  const number = (part) => {
    const digits = part.length.toString(16);
    return dice.chance(0.1) ? dice.pick([digits.toUpperCase(), `0${digits}`, `000${digits}`]) : digits;
  };
  const extension = () => (dice.chance(0.06) ? dice.pick([';a=b', ';a', ' ;a=b', ';a="b;c"', '; a = b', ';', ' ', '\t', ';a="\xe9"']) : '');
  const trailers = dice.chance(0.08) ? dice.pick(['X-Trailer: 1\r\n', 'Content-Length: 3\r\n', 'Host: x\r\n', 'X-A: 1\r\nX-A: 2\r\n', 'no colon\r\n', 'X-T : 1\r\n', 'X-T: 1\n']) : '';
  return `${parts.map((part) => `${number(part)}${extension()}\r\n${part}\r\n`).join('')}0${extension()}\r\n${trailers}\r\n`;
}

/** Ways to frame a body that readers may read in two ways: lines of the head, and what follows the head. */
const ODD_FRAMINGS = [
  (text, chunked) => [['Transfer-Encoding: chunked', `Content-Length: ${text.length}`], chunked],
  (text, chunked) => [['Content-Length: 0', 'Transfer-Encoding: chunked'], chunked],
  (text) => [[`Content-Length: ${text.length}`, `Content-Length: ${text.length}`], text],
  (text) => [[`Content-Length: ${text.length}`, `Content-Length: ${text.length + 1}`], text],
  (text) => [[`Content-Length: ${text.length}, ${text.length}`], text],
  (text) => [[`Content-Length: 0${text.length}`], text],
  (text) => [[`Content-Length: +${text.length}`], text],
  (text) => [[`Content-Length: -1`], text],
  (text) => [[`Content-Length: ${text.length} `], text],
  (text) => [[`Content-Length: ${text.length}x`], text],
  (text) => [[`Content-Length: 0x${text.length}`], text],
  (text) => [[`Content-Length: 1 1`], text],
  (text) => [['Content-Length:'], text],
  (text) => [['Content-Length: 99999999999999999999'], text],
  (text) => [[`Content-Length: ${text.length + 5}`], text],
  // What no length covers begins with what no method does.
  (text) => [[`Content-Length: ${text.length}`], `${text}"]`],
  (text) => [[`Content-Length : ${text.length}`], text],
  (text) => [[], `"${text}`],
  (text, chunked) => [['Transfer-Encoding: Chunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: gzip, chunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: chunked, gzip'], chunked],
  (text, chunked) => [['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: chunked, chunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: identity'], chunked],
  (text) => [['Transfer-Encoding: identity', `Content-Length: ${text.length}`], text],
  (text, chunked) => [['Transfer-Encoding: xchunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: "chunked"'], chunked],
  (text, chunked) => [['Transfer-Encoding:'], chunked],
  (text, chunked) => [['Transfer-Encoding : chunked'], chunked],
  (text, chunked) => [['Transfer-Encoding: chunked'], chunked.replaceAll('\r\n', '\n')],
  (text, chunked) => [['Transfer-Encoding: chunked'], `x${chunked}`],
  (text, chunked) => [['Transfer-Encoding: chunked'], ` ${chunked}`],
  (text, chunked) => [['Transfer-Encoding: chunked'], `-${chunked}`],
  (text, chunked) => [['Transfer-Encoding: chunked'], `0x${chunked}`],
  (text) => [['Transfer-Encoding: chunked'], `${(text.length + 1).toString(16)}\r\n${text}\r\n0\r\n\r\n`],
  (text) => [['Transfer-Encoding: chunked'], `fffffffffffffffff\r\n${text}\r\n0\r\n\r\n`],
];

/** The lines that frame a body, the bytes behind the head, and whether readers may disagree. */
function framed(dice, text) {
  if (dice.chance(0.06)) {
    const [lines, body] = dice.pick(ODD_FRAMINGS)(text, chunks(dice, text));
    return { lines: lines.map((line) => `${line}\r\n`), body, isOdd: true };
  }
  if (dice.chance(0.3)) {
    const body = chunks(dice, text);
    // Most have neither extensions nor trailers, nor what looks like them.
    return { lines: ['Transfer-Encoding: chunked\r\n'], body, isOdd: !/^[^;: \t]*0\r\n\r\n$/.test(body) };
  }
  return { lines: [`Content-Length: ${text.length}\r\n`], body: text, isOdd: false };
}

/** Makes a request for a token. `isOdd` says that what follows it on its connection may be read as a part of it. */
function generate(dice, tokens) {
  const isRaw = dice.chance(0.25);
  const token = isRaw ? tokens.raw : tokens.parsed;
  const method = dice.chance(0.02) ? dice.pick(ODD_METHODS) : dice.pick(METHODS);
  const hasBody = dice.chance(['POST', 'PUT', 'PATCH'].includes(method) ? 0.95 : 0.08);
  const { lines: typed, text } = hasBody ? content(dice) : { lines: [], text: '' };
  const frame = hasBody ? framed(dice, text) : { lines: [], body: '', isOdd: false };
  const host = dice.chance(0.06) ? dice.pick(HOSTS) : 'test';
  const lines = [...fields(dice), ...typed, ...frame.lines];
  if (!dice.chance(0.01)) lines.splice(dice.chance(0.8) ? 0 : dice.below(lines.length + 1), 0, `Host: ${host}\r\n`);
  let { isOdd } = frame;
  if (dice.chance(0.05) && lines.length < 80) {
    lines.splice(dice.below(lines.length + 1), 0, dice.pick(BROKEN_LINES));
    isOdd = true;
  }
  const version = dice.chance(0.05) ? dice.pick(['1.0', '1.0', '1.0', '1.0', '1.2', '2.0', '0.9', '1', '1.1 ']) : '1.1';
  let first = `${method} ${target(dice, token)} HTTP/${version}\r\n`;
  if (dice.chance(0.02)) {
    first = dice.pick([
      (line) => `\r\n${line}`, (line) => `\n${line}`, (line) => ` ${line}`, (line) => line.replace(' ', '  '), (line) => line.replace(' ', '\t'),
      (line) => line.replace(' HTTP', '  HTTP'), (line) => line.replace('HTTP', 'http'), (line) => line.replace('\r\n', '\n'), (line) => line.replace(/ HTTP.*/, ''),
      (line) => line.replace('\r\n', ' \r\n'),
    ])(first);
    isOdd = true;
  }
  return { isRaw, isOdd: isOdd || version !== '1.1', first, lines, end: dice.chance(0.003) ? '\n' : '\r\n', body: frame.body };
}

/** Makes this many requests to the tokens `parsed` and `raw`. A request is its first line, the lines of its head, and the rest. */
export function* requests(seed, count, tokens) {
  const dice = new Dice(seed);
  for (let index = 0; index < count; index += 1) yield generate(dice, tokens);
}

/** The bytes of a request. */
export function bytes({ first, lines, end, body }) {
  return Buffer.from(`${first}${lines.join('')}${end}${body}`, 'latin1');
}

/** Requests that are a little less than this one: one line, or a part of the body or the target, is left out. */
export function* smaller(whole) {
  const request = { ...whole, isOdd: true };
  // Without the lines that frame it, a body would be the next request.
  const isLeft = (index) => !/^(content-length|transfer-encoding)/i.test(request.lines[index]);
  for (const index of [...request.lines.keys()].filter(isLeft)) yield { ...request, lines: request.lines.toSpliced(index, 1) };
  const [, before, rest] = /^(.*?\/go\/\w+)(.*)$/s.exec(request.first) ?? [];
  for (const part of rest?.match(/[/&][^/?& ]+|\?[^& ]+/g) ?? []) yield { ...request, first: before + rest.replace(part, part[0] === '?' ? '?' : '') };
  const hasLength = request.lines.findIndex((line) => /^content-length: \d+\r\n$/i.test(line));
  if (hasLength < 0) return;
  for (const length of [0, request.body.length >> 1, request.body.length - 1]) {
    if (length < 0 || length >= request.body.length) continue;
    yield { ...request, body: request.body.slice(0, length), lines: request.lines.with(hasLength, `Content-Length: ${length}\r\n`) };
  }
}
