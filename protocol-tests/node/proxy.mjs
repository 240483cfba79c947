// A TCP proxy between an end and the server, which can cut connections and delay WebSocket handshakes.

import { once } from 'node:events';
import net from 'node:net';

/** Starts a proxy to `port` that ends with the test. WebSocket handshakes wait for the promise `gate`, if there is one. */
export async function proxy(t, port, { gate } = {}) {
  const sockets = new Set();
  const listener = net.createServer({ noDelay: true }, (client) => {
    keep(sockets, client);
    client.once('data', async (first) => {
      client.pause();
      if (first.includes('transport=websocket')) await gate;
      const server = keep(sockets, net.connect({ port, host: '127.0.0.1', noDelay: true }));
      server.on('error', () => client.destroy());
      server.write(first);
      client.pipe(server).pipe(client);
      client.on('close', () => server.destroy());
      server.on('close', () => client.destroy());
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  t.after(() => {
    listener.close();
    cut();
  });
  return { url: `http://127.0.0.1:${listener.address().port}`, cut };
}

function keep(sockets, socket) {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
  // The tests cut connections on purpose, so errors are expected.
  socket.on('error', () => {});
  return socket;
}
