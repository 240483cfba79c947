import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const page = readFileSync(new URL('index.html', import.meta.url));
const server = createServer((request, response) => response.setHeader('content-type', 'text/html').end(page));
new Server(server).on('connection', (socket) => {
  socket.on('say', (text, said) => {
    socket.broadcast.emit('said', text);
    said();
  });
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
