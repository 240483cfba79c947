// Next as `next dev` runs it, with the path of the tunnel put back that it takes off the URLs of requests.

import { createServer } from 'node:http';
import next from 'next';

const app = next({ dev: true, turbopack: true });
await app.prepare();
const [handle, upgrade] = [app.getRequestHandler(), app.getUpgradeHandler()];
const prefixed = (request) => {
  request.url = (request.headers['x-forwarded-prefix'] ?? '') + request.url;
  return request;
};

const server = createServer((request, response) => handle(prefixed(request), response));
server.on('upgrade', (request, ...rest) => upgrade(prefixed(request), ...rest));
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
