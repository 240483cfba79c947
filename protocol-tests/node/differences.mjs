// In what an end gets otherwise than the original's ends did, and why: a list, applied to what the original would have done.

import http from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import qs from 'qs';

/*
 * An entry has a reason and one of two functions, which returns nothing where the entry does not apply.
 *
 * - `asks` returns another request, to which the original does what the relay does to this one: Node's parser refuses this one.
 * - `changes` returns the parts of the original's outcome that are otherwise here. These are `event` (in part), `status` (which
 *   stands for a request that is refused before anything else is looked at), `unparsed`, `route` and `then`, what becomes of
 *   the bytes behind the request.
 *
 * `isOfBytes` marks an entry that applies where Node has read no request, too.
 *
 * What no entry has changed is compared, so an entry that says too much fails as one that is missing does. Entries that refuse a
 * request stand in the order in which the relay looks, the first look last.
 */

const CHUNKED = /^transfer-encoding:/i;
const LENGTH = /^content-length:/i;
/** A method, or the name of a field. */
const TOKEN = /^[!#$%&'*+\-.^`|~\w]+$/;
/** A line that is a field, as all readers see it. */
const FIELD = /^[!#$%&'*+\-.^`|~\w]+:[\t\x20-\x7e\x80-\xff]*\r?\n$/;
/** What a target may not have. */
const BAD_TARGET = /^[^?]*[<>`]|\?.*["<>]/;

const without = (object, names) => Object.fromEntries(Object.entries(object).filter(([name]) => !names.has(name)));
const has = (request, pattern) => request.lines.some((line) => pattern.test(line));
const method = (request) => request.first.trimStart().split(' ')[0];
const drop = (request, accept) => ({ ...request, lines: request.lines.filter((line) => !accept(line)) });

/** The target, if the first line has three parts. */
const target = (request) => /^\S+ (\S+) HTTP\/1\.[01]\r?\n$/.exec(request.first.replace(/^[\r\n]+/, ''))?.[1];
/** Tells whether the target has bytes of UTF-8 alone, and none of control. */
const isText = (request) => /^[\x21-\x7e\x80-\xff]+$/.test(target(request) ?? '') && utf8(Buffer.from(target(request), 'latin1')) !== undefined;
const withTarget = (request, target) => ({ ...request, first: request.first.replace(/ \S+/, () => ` ${target}`) });

/** The parts of the target as it was sent, which Node has not changed. */
function parts(event) {
  const [path, ...query] = event.target.split('?');
  return { path: path.replace(/^\/go\/[^/]*/i, ''), search: query.length > 0 ? `?${query.join('?')}` : '' };
}

/** The values of all fields of a name, as Node has read them. */
const values = (event, name) => event.lines.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value);

/** The values of all fields of a name, as they were sent. */
const fields = (request, name) => request.lines.filter((line) => line.toLowerCase().startsWith(`${name}:`))
  .map((line) => line.slice(name.length + 1).trim());
const isServiceWorker = (request) => fields(request, 'service-worker').includes('script') || fields(request, 'sec-fetch-dest').includes('serviceworker');
function isNavigation(request) {
  const modes = fields(request, 'sec-fetch-mode');
  return ['GET', 'HEAD'].includes(method(request))
    && (modes.length > 0 ? modes.includes('navigate') : fields(request, 'accept').some((value) => value.startsWith('text/html')));
}

/** A media type, in lower case, and the first of its charsets. */
function declared(event) {
  const [type, ...parameters] = (values(event, 'content-type')[0] ?? '').toLowerCase().match(/(?:"[^"]*"|[^;"])+/g) ?? [''];
  const charset = parameters.map((parameter) => /^\s*charset\s*=\s*(.*?)\s*$/.exec(parameter)?.[1]).find((value) => value !== undefined);
  return { type: type.trim(), charset: charset?.replaceAll('"', '') ?? 'utf-8' };
}
const LATIN1 = ['iso-8859-1', 'iso8859-1', 'latin1', 'latin-1'];
const UTF8 = ['utf-8', 'utf8', 'us-ascii', 'ascii'];
const isEncoded = (event) => values(event, 'content-encoding').some((coding) => !['', 'identity'].includes(coding.toLowerCase()));
const isJson = (event) => !isEncoded(event) && /^application\/json$|\+json$/.test(declared(event).type);
const isForm = (event) => !isEncoded(event) && declared(event).type === 'application/x-www-form-urlencoded';
const TEXTUAL = /^text\/|\+xml$|^application\/(xml|javascript|ecmascript|graphql|sql|x-ndjson|yaml|x-yaml|toml)$/;

/** The text of UTF-8 without its mark, or nothing. */
function utf8(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The value of JSON, or nothing. */
function json(text) {
  try {
    return { body: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

const HOP_BY_HOP = [
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade',
];
/** The names that `Connection` has, without those that are no header. */
const named = (event) => values(event, 'connection').join(',').toLowerCase().split(',').map((name) => name.trim())
  .filter((name) => !['close', 'keep-alive'].includes(name));
const REPLACED = /^(x-forwarded-(for|proto|host|prefix)|content-length|expect|x-socket2me-.*|x-request-id)$/;

/** Leaves these headers out. */
function leaveOut(event, isOut) {
  const names = new Set(Object.keys(event.headers).filter(isOut));
  return names.size > 0 && { event: { headers: without(event.headers, names) } };
}

/** Chunks, what stands behind their sizes, and the trailers; or nothing, if it is anything else. */
function chunks(body) {
  const found = [];
  for (let at = 0; ;) {
    const size = /^([0-9a-f]+)((?:[ \t;][^\r\n]*)?)\r\n/i.exec(body.slice(at));
    if (!size) return undefined;
    at += size[0].length;
    const length = Number.parseInt(size[1], 16);
    if (length === 0) return { found, extensions: [...found.map(({ extension }) => extension), size[2]], trailers: body.slice(at) };
    if (body.slice(at + length, at + length + 2) !== '\r\n') return undefined;
    found.push({ data: body.slice(at, at + length), extension: size[2] });
    at += length + 2;
  }
}
const chunked = ({ found }, trailers) => `${found.map(({ data }) => `${data.length.toString(16)}\r\n${data}\r\n`).join('')}0\r\n${trailers}`;

/** Bytes beyond ASCII in a target as letters, for a parser that takes no such bytes, and back. */
const letters = (text) => text.replace(/[\x80-\xff]+/g, (bytes) => `Zz${Buffer.from(bytes, 'latin1').toString('hex')}zZ`);
function unlettered(value) {
  if (typeof value === 'string') return value.replace(/Zz((?:[0-9a-f]{2})+)zZ/g, (_, hex) => Buffer.from(hex, 'hex').toString());
  if (Array.isArray(value)) return value.map(unlettered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [unlettered(key), unlettered(member)]));
}

/** An object without the members of this name, at any depth. */
function withoutKey(value, key) {
  if (Array.isArray(value)) return value.map((item) => withoutKey(item, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key).map(([name, member]) => [name, withoutKey(member, key)]));
}

export const DIFFERENCES = [
  // What Node's parser does not read.
  {
    reason: 'Any method is forwarded, not those alone that Node has a name for (PROTOCOL.md, "HTTP routes").',
    asks: (request) => TOKEN.test(method(request)) && !http.METHODS.includes(method(request))
      && { ...request, first: request.first.replace(method(request), 'PATCH') },
    changes: ({ event }, request) => event.method === 'PATCH' && { event: { method: method(request) } },
  },
  {
    reason: 'A bare LF ends a line of a head, as RFC 9112, section 2.2, allows (SECURITY.md, "What is not promised").',
    asks: (request) => /(?<!\r)\n/.test(`${request.first}${request.lines.join('')}${request.end}`) && {
      ...request,
      first: request.first.replace(/(?<!\r)\n/g, '\r\n'),
      lines: request.lines.map((line) => line.replace(/(?<!\r)\n/g, '\r\n')),
      end: '\r\n',
    },
  },
  {
    reason: 'A raw # ends a target (PROTOCOL.md, "The request event").',
    asks: (request) => isText(request) && target(request).includes('#') && withTarget(request, target(request).replace(/#.*/, '')),
  },
  {
    reason: 'Bytes beyond ASCII in a target are UTF-8 (PROTOCOL.md, "The request event").',
    asks: (request) => isText(request) && /[\x80-\xff]/.test(target(request)) && withTarget(request, letters(target(request))),
  },
  {
    reason: 'An absolute target says which host is meant, whatever Host says (RFC 9112, section 3.2.2; PROTOCOL.md, "Headers").',
    asks: (request) => {
      const [, host, path] = /^\w+:\/\/(?:[^/?#]*@)?([^/?#@]+)([^]*)$/.exec(target(request) ?? '') ?? [];
      return host !== undefined && {
        ...withTarget(request, path.startsWith('/') ? path : `/${path}`),
        lines: [
          ...request.lines.map((line) => line.replace(/^(host): .*(\r?\n)$/i, `$1: ${host}$2`)),
          // HTTP/1.0 has no need of one.
          ...(/1\.0\r?\n$/.test(request.first) && !has(request, /^host:/i) ? [`Host: ${host}\r\n`] : []),
        ],
      };
    },
  },
  {
    reason: 'A host alone, perhaps with a port, is a path that the server does not have.',
    asks: (request) => method(request) !== 'CONNECT' && /^\w+(:\d+)?$/.test(target(request) ?? '') && withTarget(request, '/nothing'),
  },
  {
    reason: 'No expectation but 100-continue is known, and others are not refused (RFC 9110, section 10.1.1; PROTOCOL.md, "Headers").',
    asks: (request) => has(request, /^expect:(?! *100-continue\r\n)/i) && drop(request, (line) => /^expect:/i.test(line)),
  },
  {
    reason: 'Content-Length beside chunked: the body is chunked, and the connection ends (SECURITY.md, "What is not promised").',
    asks: (request) => has(request, CHUNKED) && has(request, LENGTH) && drop(request, (line) => LENGTH.test(line)),
  },
  {
    reason: 'The same Content-Length twice counts as one (RFC 9110, section 8.6).',
    asks: (request) => {
      const lengths = request.lines.filter((line) => LENGTH.test(line));
      const isFirst = (line) => line === lengths[0];
      return lengths.length === 2 && lengths.every(isFirst) && { ...request, lines: request.lines.toSpliced(request.lines.findIndex(isFirst), 1) };
    },
  },
  {
    reason: 'Blanks behind the size of a chunk and empty extensions are passed over (RFC 9112, section 7.1.1).',
    asks: (request) => {
      const parsed = has(request, CHUNKED) ? chunks(request.body) : undefined;
      return parsed?.extensions.some((extension) => /^[ \t]|^;(?!\w)/.test(extension)) && { ...request, body: chunked(parsed, parsed.trailers) };
    },
  },
  {
    reason: 'Trailers are dropped without a look at their names (PROTOCOL.md, "Bodies").',
    asks: (request) => {
      const parsed = has(request, CHUNKED) ? chunks(request.body) : undefined;
      return /^content-length:/i.test(parsed?.trailers) && { ...request, body: chunked(parsed, '\r\n') };
    },
  },
  {
    reason: 'A trailer ends with CR LF alone. Behind a bare LF, what follows up to an empty line is dropped (SECURITY.md, "What is not promised").',
    asks: (request) => {
      const parsed = has(request, CHUNKED) ? chunks(request.body) : undefined;
      return /(?<!\r)\n/.test(parsed?.trailers) && { ...request, body: chunked(parsed, '\r\n') };
    },
    changes: ({ then }, request) => then.length > 0 && has(request, CHUNKED) && /(?<!\r)\n/.test(chunks(request.body)?.trailers)
      && { then: ['second'] },
  },
  {
    reason: 'A body is read for a tunnel alone, so that of other paths may be broken.',
    asks: (request, tokens) => {
      const isWhole = chunks(request.body)?.trailers.split(/(?<=\n)/).slice(0, -1).every((line) => FIELD.test(line));
      const path = tokens.map((token) => RegExp(`^/go/${token}(?:$|([/?]))`).exec(target(request))).find((found) => found);
      const isGuarded = path && path[1] !== '/' && (isServiceWorker(request) || isNavigation(request));
      return has(request, CHUNKED) && !isWhole && (!path || isGuarded) && { ...request, body: '0\r\n\r\n' };
    },
  },
  {
    reason: 'Content-Length beside chunked ends the connection (RFC 9112, section 6.1).',
    changes: (_, request) => request.isOdd && has(request, CHUNKED) && has(request, LENGTH) && { then: [] },
  },

  // The path and the query.
  {
    reason: 'url always starts with a slash (PROTOCOL.md, "The request event").',
    changes: ({ event }) => ({ event: { url: `/${event.url ?? ''}` } }),
  },
  {
    reason: 'url is not decoded, so that nothing is lost (PROTOCOL.md, "The request event").',
    changes: ({ event }) => {
      const { path } = parts(event);
      try {
        return path !== '' && decodeURIComponent(path) === event.url && { event: { url: path } };
      } catch {
        return undefined;
      }
    },
  },
  {
    reason: 'An escape in a path that cannot be decoded stays as it was sent, and is not refused.',
    changes: ({ event, route }) => {
      try {
        decodeURIComponent(parts(event).path);
        return undefined;
      } catch {
        return route === 400 && { route: 200, event: { url: parts(event).path } };
      }
    },
  },
  {
    reason: 'search has the query as it was sent, and httpVersion the version, for ends that need them.',
    changes: ({ event }) => ({ event: { search: parts(event).search.replace(/^\?$/, '') } }),
  },
  {
    reason: 'No parameter is lost, however many there are (PROTOCOL.md, "Queries and forms").',
    changes: ({ event }) => {
      const search = parts(event).search.slice(1);
      return search.split('&').length > 1000 && { event: { query: qs.parse(search, { allowPrototypes: true, parameterLimit: Infinity }) } };
    },
  },

  // The method and the route.
  {
    reason: 'Every method is forwarded, PATCH and OPTIONS too (PROTOCOL.md, "HTTP routes").',
    changes: ({ event, route }, request, tokens) => route === 404 && !['GET', 'HEAD', 'POST', 'PUT', 'DELETE'].includes(method(request))
      && tokens.some((token) => RegExp(`^/go/${token}(/|$)`, 'i').test(event.target.split('?')[0]))
      && { route: 200, event: { url: parts(event).path || '/' } },
  },
  {
    reason: 'Bytes beyond ASCII in a target are UTF-8 (PROTOCOL.md, "The request event").',
    changes: ({ event }, request) => /[\x80-\xff]/.test(target(request))
      && { event: unlettered({ url: event.url, query: event.query, search: event.search }) },
  },

  // Headers.
  {
    reason: 'Headers of one connection, with _ for - too, and those that Connection names, are not passed on (PROTOCOL.md, "Headers").',
    changes: ({ event }) => leaveOut(event, (name) => HOP_BY_HOP.includes(name.replaceAll('_', '-')) || named(event).includes(name)),
  },
  {
    reason: 'A visitor cannot speak as the relay or a proxy that it trusts, nor with _ for - (PROTOCOL.md, "Headers").',
    changes: ({ event }) => leaveOut(event, (name) => (name.includes('_') || !/^(content-length|x-forwarded-for)$/.test(name))
      && REPLACED.test(name.replaceAll('_', '-'))),
  },
  {
    reason: 'content-length is the length of the body that arrived, if one was announced (PROTOCOL.md, "Headers").',
    changes: ({ event }, request) => (has(request, LENGTH) || has(request, CHUNKED))
      && { event: { headers: { ...event.headers, 'content-length': String(event.bytes.length) } } },
  },
  {
    reason: 'The end is told where the request came from: x-forwarded-* (PROTOCOL.md, "Headers").',
    changes: ({ event }) => ({
      event: {
        headers: {
          ...event.headers,
          'x-forwarded-for': `${values(event, 'x-forwarded-for').join(', ')}, 127.0.0.1`.replace(/^, (?=127)/, ''),
          'x-forwarded-proto': 'http',
          ...(/^[\x20-\x7e]+$/.test(values(event, 'host')[0] ?? '') && { 'x-forwarded-host': values(event, 'host')[0] }),
          'x-forwarded-prefix': /^\/go\/[^/?#]*/.exec(event.target)?.[0],
        },
      },
    }),
  },
  {
    reason: 'Every value is a text, so that no visitor chooses its type: set-cookie too, which no request should have.',
    changes: ({ event: { headers } }) => Array.isArray(headers['set-cookie'])
      && { event: { headers: { ...headers, 'set-cookie': headers['set-cookie'].join(', ') } } },
  },
  {
    reason: 'A header __proto__ is one like any other, as JSON has it.',
    changes: ({ event }) => {
      const lines = values(event, '__proto__');
      return lines.length > 0 && !named(event).includes('__proto__')
        && { event: { headers: Object.fromEntries([...Object.entries(event.headers), ['__proto__', lines.join(', ')]]) } };
    },
  },
  {
    reason: 'rawHeaders has names in lower case, and lines of one name together (PROTOCOL.md, "The request event").',
    changes: ({ event }, { isRaw }) => {
      if (!isRaw) return undefined;
      const passed = Object.keys(event.headers).filter((name) => !REPLACED.test(name));
      const order = new Set(event.lines.map(([name]) => name.toLowerCase()));
      const own = ['content-length', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-prefix'];
      return {
        event: {
          rawHeaders: [
            ...[...order].filter((name) => passed.includes(name)).flatMap((name) => values(event, name).map((value) => [name, value])),
            ...own.filter((name) => name in event.headers).map((name) => [name, event.headers[name]]),
          ],
        },
      };
    },
  },

  // The body.
  {
    reason: 'An end with body: \'raw\' gets all bytes, and none are refused (PROTOCOL.md, "Bodies").',
    changes: ({ event }, { isRaw }) => isRaw && { unparsed: undefined, event: { body: event.bytes } },
  },
  {
    reason: 'An empty body is none, whatever its headers say (PROTOCOL.md, "Bodies").',
    changes: ({ event, unparsed }) => event.bytes.length === 0 && unparsed && { unparsed: undefined },
  },
  {
    reason: 'A body in a coding such as gzip reaches the end as it came (PROTOCOL.md, "Bodies").',
    changes: ({ event }, { isRaw }) => !isRaw && event.bytes.length > 0 && isEncoded(event)
      && { unparsed: undefined, event: { body: event.bytes } },
  },
  {
    reason: 'Text reaches the end as a string: no body is lost (PROTOCOL.md, "Bodies").',
    changes: ({ event }, { isRaw }) => !isRaw && event.bytes.length > 0 && !isEncoded(event) && TEXTUAL.test(declared(event).type)
      && UTF8.includes(declared(event).charset) && utf8(event.bytes) !== undefined && { event: { body: event.bytes.toString() } },
  },
  {
    reason: 'What is no JSON, form or text reaches the end as bytes: no body is lost (PROTOCOL.md, "Bodies").',
    changes: ({ event }, { isRaw }) => !isRaw && event.bytes.length > 0 && !isEncoded(event) && !isJson(event) && !isForm(event)
      && !(TEXTUAL.test(declared(event).type) && UTF8.includes(declared(event).charset) && utf8(event.bytes) !== undefined)
      && { event: { body: event.bytes } },
  },
  {
    reason: 'JSON may be any value, of any type …+json, and whatever parameters its type has (PROTOCOL.md, "Bodies").',
    changes: ({ event, unparsed }, { isRaw }) => !isRaw && isJson(event) && UTF8.includes(declared(event).charset) && event.bytes.length > 0
      && (unparsed !== undefined || isDeepStrictEqual(event.body, {})) && json(utf8(event.bytes) ?? '') !== undefined
      && { unparsed: undefined, event: json(utf8(event.bytes)) },
  },
  {
    reason: 'JSON in Latin-1 is read, whose bytes are characters (PROTOCOL.md, "Bodies").',
    changes: ({ event }, { isRaw }) => !isRaw && isJson(event) && LATIN1.includes(declared(event).charset) && event.bytes.length > 0
      && { unparsed: json(event.bytes.latin1Slice()) ? undefined : { status: 400 }, event: json(event.bytes.latin1Slice()) },
  },
  {
    reason: 'A form is read as a query is: five levels, lists up to 20, and no limit of fields (PROTOCOL.md, "Queries and forms").',
    changes: ({ event, unparsed }, { isRaw }) => !isRaw && isForm(event) && UTF8.includes(declared(event).charset)
      && { unparsed: undefined, event: { body: qs.parse(new TextDecoder().decode(event.bytes), { allowPrototypes: true, parameterLimit: Infinity }) } },
  },
  {
    reason: 'Beside a body of bytes, the query has no key _placeholder (PROTOCOL.md, "The request event").',
    changes: ({ event }) => Buffer.isBuffer(event.body) && { event: { query: withoutKey(event.query, '_placeholder') } },
  },
  {
    reason: 'A header _placeholder beside a body of bytes is refused: clients would take the headers for the body (PROTOCOL.md, "Errors").',
    changes: ({ event, unparsed, route }) => Buffer.isBuffer(event.body) && '_placeholder' in event.headers && !unparsed && route === 200 && { status: 400 },
  },
  {
    reason: 'A byte order mark alone is no JSON, nor is anything else that is not, whatever parameters its type has.',
    changes: ({ event, route }, { isRaw }) => !isRaw && isJson(event) && route === 200 && UTF8.includes(declared(event).charset)
      && event.bytes.length > 0 && isDeepStrictEqual(event.body, {}) && json(utf8(event.bytes) ?? '') === undefined && { status: 400 },
  },
  {
    reason: 'JSON that is not UTF-8 is refused, where the original put U+FFFD in place of what was lost (PROTOCOL.md, "Bodies").',
    changes: ({ event, route }, { isRaw }) => !isRaw && isJson(event) && route === 200 && UTF8.includes(declared(event).charset)
      && utf8(event.bytes) === undefined && { status: 400 },
  },
  {
    reason: 'JSON and forms in other character sets are 415 (PROTOCOL.md, "Bodies").',
    changes: ({ event, route }, { isRaw }) => !isRaw && event.bytes.length > 0 && route === 200
      && ((isJson(event) && ![...UTF8, ...LATIN1].includes(declared(event).charset)) || (isForm(event) && !UTF8.includes(declared(event).charset)))
      && { status: 415 },
  },

  // What is refused before the body is looked at.
  {
    reason: 'The path is looked at before the body (PROTOCOL.md, "Errors").',
    changes: ({ unparsed, route }) => unparsed && route !== 200 && { unparsed: undefined },
  },
  {
    reason: 'A browser that opens /go/TOKEN is sent to its folder (PROTOCOL.md, "The shared origin").',
    changes: ({ event }, request) => parts(event).path === '' && isNavigation(request) && { status: 307 },
  },
  {
    reason: 'A token is looked up whatever the method, and never decoded (PROTOCOL.md, "HTTP routes").',
    changes: ({ event }, _, tokens) => /^\/go\/[^/?]/.test(event.target) && !tokens.includes(/^\/go\/([^/?]*)/.exec(event.target)[1])
      && { status: 500 },
  },
  {
    reason: 'What stands behind /go/ is a token, even if it is empty (PROTOCOL.md, "HTTP routes").',
    changes: ({ event }) => /^\/go\/([/?]|$)/.test(event.target) && { status: 500 },
  },
  {
    reason: 'No page registers a service worker above its tunnel (PROTOCOL.md, "The shared origin").',
    changes: ({ event }, request) => parts(event).path === '' && isServiceWorker(request) && { status: 403 },
  },
  {
    reason: 'Paths are read as they are written: /GO/ is not /go/ (PROTOCOL.md, "HTTP routes").',
    changes: ({ event }) => /^\/go\//i.test(event.target) && !event.target.startsWith('/go/') && { status: 404 },
  },
  {
    reason: 'The root is a page of the relay, for GET and HEAD alone (PROTOCOL.md, "HTTP routes").',
    changes: ({ event }, request) => event.target.split('?')[0] === '/' && { status: ['GET', 'HEAD'].includes(method(request)) ? 200 : 405 },
  },
  {
    reason: 'A request has one Host (RFC 9112, section 3.2; PROTOCOL.md, "Errors").',
    changes: ({ event }) => values(event, 'host').length > 1 && { status: 400 },
  },
  {
    reason: 'A transfer coding is chunked, once and alone (PROTOCOL.md, "Errors").',
    changes: ({ event }) => values(event, 'transfer-encoding').length > 0
      && values(event, 'transfer-encoding').join(',').toLowerCase() !== 'chunked' && { status: 400 },
  },
  {
    reason: 'HTTP/1.0 has no transfer codings (RFC 9112, section 6.1).',
    changes: ({ event }) => event.httpVersion === '1.0' && values(event, 'transfer-encoding').length > 0 && { status: 400 },
  },
  {
    reason: 'Another version of HTTP than 1.0 and 1.1 is refused (PROTOCOL.md, "Errors").',
    changes: ({ event }) => !['1.0', '1.1'].includes(event.httpVersion) && { status: 400 },
  },
  {
    reason: 'The parts of a first line stand one blank apart (RFC 9112, section 3).',
    changes: (_, request) => / {2}/.test(request.first.trimStart()) && { status: 400 },
  },
  {
    reason: 'A raw <, > or backtick in a path, and a raw ", < or > in a query, is refused (PROTOCOL.md, "Errors").',
    changes: ({ event }) => BAD_TARGET.test(event.target) && { status: 400 },
  },
  {
    reason: 'An absolute target has a host (RFC 9110, section 4.2.1).',
    changes: ({ event }) => /^\w+:\/\/\//.test(event.target) && { status: 400 },
  },
  {
    reason: 'A head of more than 100 headers is refused (PROTOCOL.md, "Limits and times").',
    isOfBytes: true,
    changes: (_, request) => request.lines.length > 100 && TOKEN.test(method(request)) && isText(request) && request.lines.every((line) => FIELD.test(line)) && { status: 431 },
  },
  {
    reason: 'CONNECT gets an answer, where Node closes the connection (PROTOCOL.md, "Errors").',
    isOfBytes: true,
    changes: ({ status }, request) => status === undefined && method(request) === 'CONNECT' && { status: isText(request) && /^(\/|\*$|\w+(:\d+)?$|\w+:\/\/[^/])/.test(target(request)) && !BAD_TARGET.test(target(request)) ? 405 : 400 },
  },
];

/**
 * What becomes of a request here, if the list is right. `ask` asks the original, and `used` gets the entries that make a
 * difference.
 */
export async function expected(request, tokens, ask, used) {
  let asked = request;
  const asking = [];
  for (const entry of DIFFERENCES) {
    const next = entry.asks?.(asked, tokens);
    if (!next) continue;
    asked = next;
    asking.push(entry);
  }
  let outcome = await ask(asked);
  if (asking.length > 0 && !isDeepStrictEqual(await ask(request), outcome)) asking.forEach((entry) => used.add(entry));
  for (const entry of DIFFERENCES) {
    // Where Node has read nothing there is nothing to look at but the request.
    const { event, ...changed } = (outcome.event || entry.isOfBytes) && entry.changes?.(outcome, request, tokens) || {};
    const next = { ...outcome, ...changed, ...(event && { event: { ...outcome.event, ...event } }) };
    if (!isDeepStrictEqual(next, outcome)) used.add(entry);
    outcome = next;
  }
  return outcome;
}
