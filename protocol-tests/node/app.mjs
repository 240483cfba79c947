// An app in a process of its own: an end that tells its parent of each request it handles, and leaves when it is told to.
// node app.mjs CLIENT TRANSPORTS URL KEY

import { createRequire } from 'node:module';

const [client, transports, url, key] = process.argv.slice(2);
const library = createRequire(import.meta.url)(client);
const isOld = client.endsWith('2.5.0');
const options = { transports: transports.split(','), reconnectionDelay: 20, reconnectionDelayMax: 50, auth: { key } };
const socket = (library.io ?? library)(url + (isOld ? `?key=${key}` : ''), options);

socket.on('connect', () => process.send({ connected: true }));
socket.on('request', (request, respond) => {
  process.send({ handled: request.url });
  if (request.url === '/kill') process.kill(process.pid, 'SIGKILL');
  setTimeout(() => respond(200, `${request.url} ${request.method}`), 5);
});
process.on('message', (message) => {
  if (message !== 'leave') return;
  // The server disconnects an end that leaves once it has answered.
  socket.on('disconnect', () => process.exit(0));
  socket.emit('leave');
});
process.on('disconnect', () => process.exit(0));
