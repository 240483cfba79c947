"""python-socketio as an end of the real binary.

The same tests run with the latest version, which speaks Engine.IO 4, and with 4.6.1, which speaks Engine.IO 3, depending
on which is installed. Everything started here ends with its test.
"""

import asyncio
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from queue import Empty, Queue

import socketio

LATEST = not version('python-socketio').startswith('4.')
BINARY = os.environ.get('SOCKET2ME_BIN', Path(__file__).parents[2] / 'target/debug/socket2me')
# A key, or a token of the form that the server makes.
SECRET = re.compile(r's2m_[0-9A-Za-z]{43}|\b[0-9A-Za-z]{48}\b')
READY = re.compile(r'Socket2Me is ready at http://(\S+) - get a token with: ')

# Longer than anything here takes: a test that waits for an event in vain fails after this time.
PATIENCE_SECONDS = 15

WORLD = 'größer ≠ 日本語 😀 𝄞 \u2028 "\\ \u0000 e\u0301'
ALL_BYTES = bytes(range(256)) * 2
MIB = 1 << 20


class Server:
    def __init__(self, *flags, address='127.0.0.1:0', store='memory', **env):
        self.ends = []
        self.log = tempfile.TemporaryFile(mode='w+')
        # Without this process's environment: variables such as PORT are settings of the server.
        self.process = subprocess.Popen(
            [BINARY, '--log', 'debug', 'serve', '--listen', address, '--store', store, *flags],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        ready = READY.match(line)
        if ready is None:
            self.stop()
            raise AssertionError(f'no start-up line but: {line}')
        self.address = ready[1]

    def kill(self):
        """Ends the server at once, as a crash does. Its ends go on."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def stop(self):
        """Stops the server, then its ends, which therefore wait for no poll."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            for end in self.ends:
                end.close()
            self.process.stdout.close()
            self.log.seek(0)
            log = self.log.read()
            self.log.close()
        assert not SECRET.search(log), f'the log has a key or a whole token:\n{log[-4000:]}'
        assert self.process.returncode == 0, f'the server ended with {self.process.returncode}:\n{log[-4000:]}'

    def visit(self, path, method='GET', body=None, content_type=None, headers=None):
        """Sends an HTTP request on a connection of its own. Returns the status, headers and body of the response."""
        connection = HTTPConnection(self.address, timeout=PATIENCE_SECONDS)
        try:
            given = {'Content-Type': content_type} if content_type else {}
            connection.request(method, path, body, {**given, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def token(self):
        status, _, body = self.visit('/new')
        assert status == 200, body
        return body.decode()

    def call(self, method, path, owner=None, **fields):
        """Sends a request about keyed tunnels. Returns the status and what is answered in JSON."""
        headers = {'Authorization': f'Bearer {owner}'} if owner else {}
        body = json.dumps(fields) if method in ('POST', 'PATCH') else None
        status, _, answer = self.visit(path, method, body, 'application/json', headers)
        return status, json.loads(answer or 'null')

    def tunnel(self, **fields):
        """Makes a keyed tunnel. Returns its token and its key."""
        status, made = self.call('POST', '/new', **fields)
        assert status == 201, made
        return made['token'], made['key']


class End:
    """A client that answers requests with `handler`. Its events wait in the queue `happened` for the test."""

    make_client = socketio.Client
    # The older version does not wait for the namespace; the latest waits for it, but for no more than a second.
    connect_options = {'wait': False} if LATEST else {}

    def __init__(self, server, token, transports, handler, key=None, **options):
        self.happened = Queue()
        # Engine.IO 3 has no `auth`.
        query, shown = ('', {'auth': {'key': key}}) if key and LATEST else (f'?key={key}' if key else '', {})
        self.client = self.make_client(**{'reconnection': False, **options})
        namespace = f'/{token}'
        for event in ('connect', 'connect_error', 'disconnect'):
            self.client.on(event, lambda *details, event=event: self.happened.put((event, details)), namespace)
        self.client.on('request', handler, namespace)
        self.run(
            self.client.connect, f'http://{server.address}{query}', transports=transports, namespaces=[namespace],
            **shown, **self.connect_options)

    def run(self, method, *args, **options):
        return method(*args, **options)

    def next(self, seconds=PATIENCE_SECONDS):
        return self.happened.get(timeout=seconds)

    def close(self):
        # Without waiting for the client's tasks: in the latest version these can wait for each other for half a minute.
        self.run(self.client.eio.disconnect, abort=True)


class AsyncEnd(End):
    """The same with asyncio, whose event loop runs in a thread of its own."""

    make_client = socketio.AsyncClient

    def __init__(self, *args, **options):
        started = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=[self.live(started)], daemon=True)
        self.thread.start()
        started.wait()
        super().__init__(*args, **options)

    async def live(self, started):
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        started.set()
        await self.over.wait()

    def run(self, method, *args, **options):
        async def call():
            return await method(*args, **options)
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE_SECONDS)

    def close(self):
        try:
            super().close()
        finally:
            # Ending the loop cancels tasks that the client leaves behind.
            self.loop.call_soon_threadsafe(self.over.set)
            self.thread.join()


class Cases:
    """The tests for an end made by `make_end` over `transports`."""

    def serve(self, *flags, **env):
        server = Server(*flags, **env)
        self.addCleanup(server.stop)
        return server

    def end(self, server, token, handler, key=None):
        end = self.make_end(server, token, self.transports, handler, key)
        server.ends.append(end)
        return end

    def joined(self, server, token, key, answer):
        """Returns an end of a keyed tunnel that has joined."""
        end = self.end(server, token, lambda request: answer, key)
        self.assertEqual(end.next(), ('connect', ()))
        return end

    def refused(self, end, code, words):
        """Checks that the server has refused an end, and why."""
        event, [reason] = end.next()
        self.assertEqual(event, 'connect_error')
        # In protocol 4 of Socket.IO the refusal is one text.
        if LATEST:
            self.assertEqual(reason['data'], {'code': code})
            self.assertRegex(reason['message'], f'^{words}')
        else:
            self.assertRegex(reason, f'^{code}: {words}')

    def connected(self, server, handler):
        """Creates a token and returns it with an end that has joined."""
        token = server.token()
        end = self.end(server, token, handler)
        self.assertEqual(end.next(), ('connect', ()))
        return token, end

    def test_the_end_uses_the_transport_it_asked_for(self):
        _, end = self.connected(self.serve(), None)
        self.assertEqual(end.client.transport(), 'polling' if self.transports == ['polling'] else 'websocket')

    def test_the_request_has_method_url_query_and_body(self):
        server = self.serve()
        seen = []
        token, _ = self.connected(server, seen.append)
        self.assertEqual(server.visit(f'/go/{token}/hello%20you?a[b]=c&l=1&l=2', 'DELETE')[0], 200)
        [request] = seen
        self.assertEqual({key: request[key] for key in ('method', 'url', 'query', 'search', 'body')}, {
            'method': 'DELETE',
            'url': '/hello%20you',
            'query': {'a': {'b': 'c'}, 'l': ['1', '2']},
            'search': '?a[b]=c&l=1&l=2',
            'body': {},
        })

    def test_no_name_of_the_visitors_is_taken_for_the_place_of_an_attachment(self):
        server = self.serve()
        seen = []
        token, _ = self.connected(server, seen.append)
        binary = ('POST', b'x', 'application/octet-stream')
        status, headers, _ = server.visit(f'/go/{token}', *binary, headers={'_placeholder': '1', 'num': '0'})
        self.assertEqual((status, headers['X-Socket2Me-Error'], seen), (400, 'forbidden-header', []))
        # This one made the client answer nothing any more.
        self.assertEqual(server.visit(f'/go/{token}?_placeholder=1&num=a', *binary)[0], 200)
        [request] = seen
        self.assertEqual((request['query'], request['body']), ({'num': 'a'}, b'x'))

    def test_the_visitor_gets_what_the_handler_returns(self):
        server = self.serve()
        answers = Queue()
        token, _ = self.connected(server, lambda request: answers.get_nowait())
        for answer, status, content_type, body in [
            (None, 200, 'text/html; charset=utf-8', b'OK'),
            (404, 404, 'text/html; charset=utf-8', b'Not Found'),
            ('hello', 200, 'text/html; charset=utf-8', b'hello'),
            ((201, 'made'), 201, 'text/html; charset=utf-8', b'made'),
            ((200, {'a': [1, None]}), 200, 'application/json; charset=utf-8', b'{"a":[1,null]}'),
            ((200, b'\x00\xff'), 200, 'application/octet-stream', b'\x00\xff'),
            ((200, '<a/>', {'content-type': 'text/xml'}), 200, 'text/xml', b'<a/>'),
        ]:
            with self.subTest(answer):
                answers.put(answer)
                got_status, headers, got_body = server.visit(f'/go/{token}')
                self.assertEqual((got_status, headers['content-type'], got_body), (status, content_type, body))

    def test_text_in_many_scripts_arrives_unchanged_both_ways(self):
        server = self.serve()
        seen = []

        def handler(request):
            seen.append(request['body'])
            return 200, request['body']

        token, _ = self.connected(server, handler)
        for content_type, body, read in [
            ('text/plain', WORLD, bytes.decode),
            ('application/json', json.dumps({'text': WORLD}, ensure_ascii=False), json.loads),
        ]:
            with self.subTest(content_type):
                status, _, answer = server.visit(f'/go/{token}', 'POST', body.encode(), content_type)
                self.assertEqual((status, read(answer)), (200, read(body.encode())))
        self.assertEqual(seen, [WORLD, {'text': WORLD}])

    def test_bytes_arrive_unchanged_both_ways(self):
        server = self.serve()
        token, _ = self.connected(server, lambda request: (200, request['body'][::-1], {'content-type': 'image/png'}))
        for body in (ALL_BYTES, os.urandom(MIB)):
            with self.subTest(len(body)):
                status, headers, answer = server.visit(f'/go/{token}', 'POST', body, 'application/octet-stream')
                self.assertEqual((status, headers['content-type']), (200, 'image/png'))
                self.assertTrue(answer == body[::-1], 'other bytes came back')

    def test_a_mebibyte_of_text_arrives_unchanged_both_ways(self):
        server = self.serve()
        token, _ = self.connected(server, lambda request: (200, request['body']))
        body = (WORLD * (MIB // len(WORLD.encode()))).encode()
        status, _, answer = server.visit(f'/go/{token}', 'POST', body, 'text/plain')
        self.assertEqual(status, 200)
        self.assertTrue(answer == body, 'another text came back')

    def test_an_unknown_token_is_refused(self):
        server = self.serve()
        self.refused(self.end(server, 'no-token', None), 'token-not-found', 'token not found')

    def test_an_end_joins_with_the_key_of_its_tunnel_alone(self):
        server = self.serve()
        (token, key), (_, others) = server.tunnel(), server.tunnel()
        self.refused(self.end(server, token, None), 'key-required', 'this tunnel has a key')
        self.refused(self.end(server, token, None, others), 'key-wrong', "this is not the tunnel's key")
        self.assertEqual(server.visit(f'/go/{token}')[0], 502)
        first = self.joined(server, token, key, 'first')
        self.assertEqual(server.visit(f'/go/{token}')[2], b'first')
        # Its owner takes it over.
        self.joined(server, token, key, 'second')
        self.assertEqual(first.next()[0], 'disconnect')
        self.assertEqual(server.visit(f'/go/{token}')[2], b'second')

    def test_another_key_throws_the_end_out_which_cannot_come_back(self):
        server = self.serve()
        token, key = server.tunnel(name='mine')
        new_key, last_key = f's2m_{"0" * 43}', f's2m_{"1" * 43}'
        thief = self.joined(server, token, key, 'stolen')
        for _ in range(2):
            self.assertEqual(server.call('POST', '/tunnel/mine/key', key, key=new_key)[0], 204)
        self.assertEqual(thief.next()[0], 'disconnect')
        self.refused(self.end(server, token, None, key), 'key-wrong', "this is not the tunnel's key")
        end = self.joined(server, token, new_key, 'here')
        answer = server.call('POST', '/tunnel/mine/key', new_key, key=last_key, disconnect=False)
        self.assertEqual(answer[0], 204)
        self.assertEqual(server.visit('/go/mine')[2], b'here')
        self.joined(server, token, last_key, 'with the last key')
        self.assertEqual(end.next()[0], 'disconnect')

    def test_its_owner_sets_the_timeout_deletes_the_tunnel_and_gets_the_name_back(self):
        server = self.serve()
        token, key = server.tunnel(name='mine')
        waiting = threading.Event()
        self.addCleanup(waiting.set)
        silent = self.end(server, token, lambda request: waiting.wait(PATIENCE_SECONDS) and None, key)
        self.assertEqual(silent.next(), ('connect', ()))
        self.assertEqual(server.call('PATCH', '/tunnel/mine', key, timeout=1)[1]['timeout'], 1)
        self.assertEqual(server.visit('/go/mine')[0], 504)
        waiting.set()
        self.assertEqual(server.call('DELETE', '/tunnel/mine', key)[0], 204)
        self.assertEqual(silent.next()[0], 'disconnect')
        self.assertEqual(server.visit('/go/mine')[0], 404)
        self.refused(self.end(server, token, None, key), 'token-not-found', 'token not found')
        self.assertEqual(server.call('POST', '/new', name='mine')[0], 409)
        self.assertEqual(server.call('POST', '/new', key, name='mine')[1]['key'], key)
        self.joined(server, token, key, 'again')
        self.assertEqual(server.visit('/go/mine')[2], b'again')

    def test_http_client_gets_answers_that_are_given_before_the_body_is_read(self):
        # It sends the whole body before it reads.
        server = self.serve()
        token, _ = self.connected(server, lambda request: (200, 'read'))
        lonely = server.token()
        for path, size, status, code in [
            (f'/go/{lonely}', 3 * MIB, 500, 'client-not-connected'),
            (f'/go/{token}', 22 * MIB, 413, 'body-too-large'),
            ('/nothing', MIB, 404, 'not-found'),
        ]:
            answered, headers, body = server.visit(path, 'POST', b'x' * size)
            self.assertEqual((answered, headers['X-Socket2Me-Error']), (status, code))
            self.assertIn('Error', json.loads(body))

    def test_an_expired_token_disconnects_its_end(self):
        server = self.serve('--token-grace', '0', TOKEN_EXPIRE_SECONDS='1')
        _, end = self.connected(server, None)
        event, _ = end.next()
        self.assertEqual(event, 'disconnect')

    def test_an_end_comes_back_to_a_server_that_was_killed_and_started_again(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.comes_back(f'file:{folder.name}/tunnels.redb')

    @unittest.skipUnless(os.environ.get('SOCKET2ME_REDIS'), 'there is no redis-server')
    def test_an_end_comes_back_to_a_server_that_was_killed_and_has_its_tunnels_in_redis(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.comes_back(self.redis(folder.name))

    def redis(self, folder):
        """Starts a Redis, and returns its URL."""
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        flags = ['--port', str(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no']
        redis = subprocess.Popen([os.environ['SOCKET2ME_REDIS'], *flags], stdout=subprocess.PIPE, text=True)
        self.addCleanup(redis.stdout.close)
        self.addCleanup(redis.wait)
        self.addCleanup(redis.kill)
        while 'Ready to accept connections' not in redis.stdout.readline():
            pass
        return f'redis://127.0.0.1:{port}'

    def comes_back(self, store):
        killed = Server(store=store)
        # Before the server stops: a poll that waits for it would wait for the end.
        ends = []
        for token, key in [(killed.token(), None), killed.tunnel()]:
            quick = {'reconnection': True, 'reconnection_delay': 0.02, 'reconnection_delay_max': 0.05}
            end = self.make_end(killed, token, self.transports, lambda request: 'here', key, **quick)
            self.assertEqual(end.next()[0], 'connect')
            ends.append((token, end))
        killed.kill()
        server = self.serve(address=killed.address, store=store)
        server.ends += [end for _, end in ends]
        for _, end in ends:
            # Before this server stops, after which an end would try for ever.
            self.addCleanup(setattr, end.client, 'reconnection', False)
        for token, end in ends:
            self.assertEqual(end.next()[0], 'disconnect')
            while end.next()[0] != 'connect':
                pass
            self.assertEqual(server.visit(f'/go/{token}')[2], b'here')

    def test_many_visitors_at_once_are_answered(self):
        server = self.serve('--response-timeout', '60s')
        token, _ = self.connected(server, lambda request: request['url'])
        with ThreadPoolExecutor(60) as visitors:
            for _ in range(3):
                paths = [f'/{number}' for number in range(60)]
                bodies = visitors.map(lambda path: server.visit(f'/go/{token}{path}')[2].decode(), paths)
                self.assertEqual(list(bodies), paths)

    def test_heartbeats_keep_the_session(self):
        server = self.serve('--ping-interval', '200ms', '--ping-timeout', '1s')
        token, end = self.connected(server, lambda request: 'alive')
        # Without heartbeats the session would end after 1.2 s.
        with self.assertRaises(Empty):
            end.next(2)
        self.assertEqual(server.visit(f'/go/{token}')[2], b'alive')


CLIENTS = {'': End, 'Async': AsyncEnd}
TRANSPORTS = {'Polling': ['polling'], 'WebSocket': ['websocket'], 'Upgrade': None}
for prefix, make_end in CLIENTS.items():
    for suffix, transports in TRANSPORTS.items():
        attributes = {'make_end': make_end, 'transports': transports}
        globals()[prefix + suffix] = type(prefix + suffix, (Cases, unittest.TestCase), attributes)

if __name__ == '__main__':
    unittest.main()
