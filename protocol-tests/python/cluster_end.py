"""python-socketio as an end of a cluster: cluster_end.py URL TOKEN [TRANSPORT]. It says `connected`, and ends by a signal."""

import sys

import socketio

server, token, *transports = sys.argv[1:]
namespace = f'/{token}'
client = socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.5)


@client.on('connect', namespace=namespace)
def connected():
    print(f'connected {client.transport()}', flush=True)


@client.on('request', namespace=namespace)
def answer(request):
    body = request['body']
    return 200, body if isinstance(body, (bytes, str)) and body else f'{request["method"]} {request["url"]}'


client.connect(server, namespaces=[namespace], transports=transports or None, wait_timeout=20)
client.wait()
