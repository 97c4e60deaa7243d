#!/usr/bin/python3
"""An echo server that publishes its connections to introspectd.

    introspectd --feed /tmp/node.sock
    protoc --python_out=. --proto_path=../.. introspection.proto
    python3 example.py /tmp/node.sock

Needs protobuf for Python (Debian: python3-protobuf, protobuf-compiler).
"""

import asyncio
import itertools
import platform
import sys
import time

from google.protobuf.internal.encoder import _VarintBytes as varint
from introspection_pb2 import RESPONDER, Connection, Runtime, ServerMessage

RETRY = 1  # s
ids = itertools.count(1)
connections = {}


def now():
    return time.time_ns() // 1_000_000


def multiaddr(address):
    host, port = address
    return f"/ip4/{host}/tcp/{port}"


async def echo(reader, writer):
    """Serves one client and keeps its account."""
    connection = Connection(id=str(next(ids)).encode(), role=RESPONDER, transport_id=b"ip4+tcp")
    connection.endpoints.src_multiaddr = multiaddr(writer.get_extra_info("sockname"))
    connection.endpoints.dst_multiaddr = multiaddr(writer.get_extra_info("peername"))
    connection.timeline.open_ts = now()
    connections[connection.id] = connection
    try:
        while data := await reader.read(65536):
            connection.traffic.traffic_in.cum_bytes += len(data)
            writer.write(data)
            await writer.drain()
            connection.traffic.traffic_out.cum_bytes += len(data)
    finally:
        del connections[connection.id]
        writer.close()


def state():
    message = ServerMessage()
    message.state.instant_ts = now()
    message.state.subsystems.connections.extend(connections.values())
    return message


async def publish(path):
    """Says who it is, then sends a state each time it is asked for one."""
    reader, writer = await asyncio.open_unix_connection(path)

    def send(message):
        data = message.SerializeToString()
        writer.write(varint(len(data)) + data)

    try:
        send(ServerMessage(runtime=Runtime(implementation="echo", version="1.0.0", platform=platform.platform())))
        while asked := await reader.read(4096):
            if b"r" in asked:
                send(state())
                await writer.drain()
    finally:
        writer.close()


async def main(path):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print("listening on", multiaddr(server.sockets[0].getsockname()), flush=True)
    while True:
        try:
            await publish(path)
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)
        await asyncio.sleep(RETRY)


if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} PATH")
try:
    asyncio.run(main(sys.argv[1]))
except KeyboardInterrupt:
    pass
