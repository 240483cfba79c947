import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createSession } from 'better-sse';

const page = readFileSync(new URL('index.html', import.meta.url));
let count = 0;
const open = new Set();

/** Tells each page the next number, whose id it names when it comes back. */
function tick() {
  count += 1;
  for (const { session } of open) session.push(count, 'count', String(count));
}

const routes = {
  'GET /': (request, response) => response.setHeader('content-type', 'text/html').end(page),
  'GET /events': async (request, response) => {
    const session = await createSession(request, response, { retry: 100 });
    for (let missed = Number(session.lastId) + 1; missed <= count && session.lastId; missed += 1) {
      session.push(missed, 'count', String(missed));
    }
    const place = { session, response };
    open.add(place);
    session.on('disconnected', () => open.delete(place));
  },
  'POST /tick': (request, response) => {
    tick();
    response.end();
  },
  // Ends all streams, and counts on before their pages are back.
  'POST /cut': (request, response) => {
    for (const { response: stream } of open) stream.destroy();
    open.clear();
    tick();
    response.end();
  },
};

const server = createServer((request, response) => {
  const route = routes[`${request.method} ${request.url}`];
  if (route) route(request, response);
  else response.writeHead(404).end();
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
