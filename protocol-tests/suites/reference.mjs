// The reference server, as the specification of each suite configures it: node reference.mjs SUITE
// `scripts/suites --reference` runs a copy of this file beside the reference's own packages.

import { createServer } from 'node:http';
import * as engine from 'engine.io';
import { Server } from 'socket.io';

const options = { pingInterval: 300, pingTimeout: 200, maxPayload: 1e6, cors: { origin: '*' } };

function engineIo(http, more) {
  engine.attach(http, { ...options, ...more }).on('connection', (socket) => {
    socket.on('data', (...args) => socket.send(...args));
  });
}

function socketIo(http) {
  const io = new Server(http, { ...options, connectTimeout: 1000 });
  io.on('connection', (socket) => {
    socket.emit('auth', socket.handshake.auth);
    socket.on('message', (...args) => socket.emit('message-back', ...args));
    socket.on('message-with-ack', (...args) => args.pop()(...args));
  });
  io.of('/custom').on('connection', (socket) => socket.emit('auth', socket.handshake.auth));
}

const SUITES = {
  'engine.io-protocol/v3-test-suite': (http) => engineIo(http, { allowEIO3: true }),
  'engine.io-protocol/v4-test-suite': (http) => engineIo(http),
  'socket.io-protocol/v5-test-suite': socketIo,
};

const http = createServer();
SUITES[process.argv[2]](http);
http.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${http.address().port}`));
