// The same server made for Node.js: node server.js express|plain
// It passes the body of a request on as a string, which is cheaper than parsing JSON.
'use strict';

const crypto = require('crypto');
const http = require('http');
const { Server } = require('socket.io');

// The limit of a message, in bytes: enough for the largest answer of the bench. socket.io's default is 1 MB.
const MAX_BYTES = 16 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 5000;

// The tokens, each with its end once one has joined.
const tokens = new Map();

function newToken() {
  const token = crypto.randomBytes(16).toString('hex');
  tokens.set(token, null);
  return token;
}

// Calls reply(status, body, headers).
function relay(token, request, reply) {
  const socket = tokens.get(token);
  if (socket === undefined) return reply(404, 'unknown token', {});
  if (socket === null) return reply(502, 'nobody is connected', {});
  socket.timeout(ANSWER_TIMEOUT_MS).emit('request', request, (error, status, body, headers) => {
    if (error) reply(504, 'no answer', {});
    else reply(status, body, headers || {});
  });
}

function expressApp() {
  const express = require('express');
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/new', (req, res) => res.type('text/plain').send(newToken()));
  app.use('/go/:token', express.text({ type: () => true, limit: MAX_BYTES }), (req, res) => {
    const { headers, method, url, query, body = '' } = req;
    relay(req.params.token, { headers, method, url, query, body }, (status, answer, extra) => {
      res.status(status).set(extra).send(answer);
    });
  });
  return app;
}

function plainApp() {
  return (req, res) => {
    const end = (status, body, headers) => {
      res.writeHead(status, { 'Content-Length': Buffer.byteLength(body), ...headers });
      res.end(body);
    };
    if (req.url === '/new') return end(200, newToken(), {});
    if (!req.url.startsWith('/go/')) return end(404, '', {});
    const [path, search = ''] = req.url.slice('/go/'.length).split('?');
    const token = path.split('/', 1)[0];
    const send = (body) => {
      const query = Object.fromEntries(new URLSearchParams(search));
      const url = req.url.slice('/go/'.length + token.length);
      relay(token, { headers: req.headers, method: req.method, url, query, body }, end);
    };
    if (req.method === 'GET') return send('');
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk));
    req.on('end', () => send(Buffer.concat(chunks).toString()));
  };
}

const server = http.createServer(process.argv[2] === 'plain' ? plainApp() : expressApp());
const io = new Server(server, {
  allowEIO3: true,
  cleanupEmptyChildNamespaces: true,
  maxHttpBufferSize: MAX_BYTES,
  serveClient: false,
});

io.of((name, auth, next) => next(null, tokens.has(name.slice(1)))).on('connection', (socket) => {
  const token = socket.nsp.name.slice(1);
  tokens.set(token, socket);
  socket.on('disconnect', () => {
    if (tokens.get(token) === socket) tokens.set(token, null);
  });
});

server.listen(0, '127.0.0.1', 4096, () => console.log(`listening on 127.0.0.1:${server.address().port}`));
