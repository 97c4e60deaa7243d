"""Publishes what a py-libp2p host knows about itself to introspectd."""

import collections
import importlib.metadata
import io
import itertools
import json
import logging
import platform
import random
import time
import weakref

from google.protobuf.proto import serialize_length_prefixed
from libp2p.abc import INotifee
from libp2p.rcmgr import Direction
from multiaddr import Multiaddr
import trio

from .introspection_pb2 import (
    CLOSED,
    INITIATOR,
    RESPONDER,
    Connection,
    Event,
    EventType,
    OwnAddress,
    Runtime,
    ServerMessage,
    State,
    Stream,
)

__all__ = ["publish"]

RETRY_FIRST = 0.1  # s, doubled with every failure
RETRY_LONGEST = 5
MAX_EVENTS = 256  # that wait for the daemon to read; those beyond are not sent
MAX_CLOSED = 1024  # kept for the next state; when more close, the oldest go
PROPERTIES = {"connectionId": "STRING", "peerId": "PEERID", "multiaddr": "STRING", "direction": "STRING"}

log = logging.getLogger("introspectd")


async def publish(host, path):
    """Publishes the host to the daemon's feed socket at `path` until it is cancelled.

    The socket need not be there yet, nor stay. Nothing but the cancellation is raised: what goes
    wrong is logged under the name "introspectd".
    """
    publisher = _Publisher(host)
    network = host.get_network()
    network.register_notifee(publisher)
    delay = RETRY_FIRST
    try:
        while True:
            publisher.answers = 0
            try:
                await publisher.serve(path)
            except (OSError, trio.BrokenResourceError) as error:
                log.debug("%s: %s", path, error)
            except Exception:
                log.exception("%s", path)
            if publisher.answers > 1:  # it asked again, so it takes what it gets
                delay = RETRY_FIRST
            await trio.sleep(delay * random.uniform(0.5, 1))
            delay = min(2 * delay, RETRY_LONGEST)
    finally:
        network.remove_notifee(publisher)


def _now():
    return time.time_ns() // 1_000_000


def _event_type(name):
    types = [
        EventType.EventProperty(name=name, type=EventType.EventProperty.PropertyType.Value(value))
        for name, value in PROPERTIES.items()
    ]
    return EventType(name=name, property_types=types)


class _Publisher(INotifee):
    """The host's events, and the connection to the daemon; all in trio's one thread."""

    def __init__(self, host):
        self.host = host
        self.ids = itertools.count(1)
        self.known = weakref.WeakKeyDictionary()  # connections and streams: (id, opened)
        self.closed = collections.deque(maxlen=MAX_CLOSED)
        self.events = collections.deque()
        self.connected_to_daemon = self.asked = False
        self.answers = 0
        self.wake = trio.Event()
        self.previous = _now()

    async def serve(self, path):
        """One connection to the daemon, from its beginning to its end."""
        async with await trio.open_unix_socket(path) as daemon, trio.open_nursery() as nursery:
            self.events.clear()
            self.closed.clear()
            self.asked, self.connected_to_daemon = False, True
            try:
                await self._send(daemon, runtime=self._runtime())
                nursery.start_soon(self._read_requests, daemon, nursery.cancel_scope)
                await self._answer(daemon)
            finally:
                self.connected_to_daemon = False
                nursery.cancel_scope.cancel()

    async def _read_requests(self, daemon, connection):
        """Any number of requests before the answer are one."""
        try:
            while data := await daemon.receive_some(4096):
                if b"r" in data:
                    self.asked = True
                    self.wake.set()
        except trio.BrokenResourceError:
            pass
        connection.cancel()

    async def _answer(self, daemon):
        announced = set()
        while True:
            if self.asked:
                self.asked = False
                self.answers += 1
                await self._send(daemon, state=self._state())
            if self.events:
                event = self.events.popleft()
                if event.type.name not in announced:
                    announced.add(event.type.name)
                    event.type.CopyFrom(_event_type(event.type.name))
                await self._send(daemon, event=event)
            elif not self.asked:
                self.wake = trio.Event()
                await self.wake.wait()

    async def _send(self, daemon, **payload):
        out = io.BytesIO()
        message = ServerMessage(**payload)
        message.version.version = 1
        serialize_length_prefixed(message, out)
        await daemon.send_all(out.getvalue())

    def _runtime(self):
        return Runtime(
            implementation="py-libp2p",
            version=importlib.metadata.version("libp2p"),
            platform=f"{platform.system()}/{platform.machine()} Python {platform.python_version()}".lower(),
            peer_id=str(self.host.get_id()),
            event_types=[_event_type("ConnectionOpened"), _event_type("ConnectionClosed")],
        )

    def _state(self):
        now = _now()
        state = State(instant_ts=now, start_ts=self.previous)
        self.previous = now
        connections = state.subsystems.connections
        connections.extend(self._connection(c) for c in self.host.get_network().get_connections())
        connections.extend(self.closed)
        self.closed.clear()
        for address in self.host.get_addrs():
            state.addresses.append(OwnAddress(multiaddr=str(address)))
        state.snapshot_duration_ms = _now() - now
        return state

    def _known(self, thing):
        if thing not in self.known:
            self.known[thing] = (str(next(self.ids)).encode(), _now())
        return self.known[thing]

    def _connection(self, conn):
        id, opened = self._known(conn)
        own, other = _ends(conn)
        message = Connection(
            id=id,
            peer_id=str(conn.muxed_conn.peer_id),
            transport_id=_transport(other).encode(),
            role=RESPONDER if conn.direction == Direction.INBOUND else INITIATOR,
        )
        message.endpoints.src_multiaddr = own
        message.endpoints.dst_multiaddr = other
        message.timeline.open_ts = opened
        message.attribs.encryption = conn.get_negotiated_security_protocol() or ""
        message.attribs.multiplexer = conn.get_negotiated_muxer_protocol() or ""
        message.streams.streams.extend(self._stream(stream) for stream in conn.get_streams())
        return message

    def _stream(self, stream):
        id, opened = self._known(stream)
        message = Stream(id=id, protocol=str(stream.get_protocol() or ""))
        message.timeline.open_ts = opened
        return message

    def _offer(self, name, conn):
        """Keeps an event for the daemon, if there is one and not too many wait."""
        if not self.connected_to_daemon or len(self.events) >= MAX_EVENTS:
            return
        content = {
            "connectionId": self._known(conn)[0].decode(),
            "peerId": str(conn.muxed_conn.peer_id),
            "multiaddr": _ends(conn)[1],
            "direction": "inbound" if conn.direction == Direction.INBOUND else "outbound",
        }
        self.events.append(Event(type=EventType(name=name), ts=_now(), content=json.dumps(content)))
        self.wake.set()

    async def connected(self, network, conn):
        self._known(conn)
        self._offer("ConnectionOpened", conn)

    async def disconnected(self, network, conn):
        if self.connected_to_daemon:
            message = self._connection(conn)
            message.status = CLOSED
            message.timeline.close_ts = _now()
            self.closed.append(message)
        self._offer("ConnectionClosed", conn)

    async def opened_stream(self, network, stream):
        self._known(stream)

    async def closed_stream(self, network, stream):
        pass

    async def listen(self, network, multiaddr):
        pass

    async def listen_close(self, network, multiaddr):
        pass


def _transport(address):
    """For example ip4+tcp: the components that say by which transport, and not who or where."""
    names = (p.name for p in Multiaddr(address).protocols() if p.name not in ("p2p", "certhash", "sni"))
    return "+".join(names)


def _ends(conn):
    """Both addresses of a connection; the own one is known of TCP alone, where the socket can be found."""
    addresses = conn.get_transport_addresses()
    other = str(addresses[0]) if addresses else ""
    layer = conn.muxed_conn
    while layer is not None and not hasattr(layer, "socket"):
        layer = next((getattr(layer, name) for name in ("secured_conn", "conn", "stream") if hasattr(layer, name)), None)
    try:
        own, peer = (_tcp(name) for name in (layer.socket.getsockname(), layer.socket.getpeername()))
    except (AttributeError, OSError):
        return "", other
    return own, other or peer


def _tcp(name):
    host, port = name[0].split("%")[0], name[1]  # an ip6 component has no zone
    return f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}"
