"""What publishers/contract runs of this publisher; see publishers/contract/publishers.mjs."""

import argparse
import sys

from libp2p import new_host
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from multiaddr import Multiaddr
import trio

from introspectd_publisher import publish


# A thousand others come from one address.
LIMIT = 100_000
# s for what the library gives up after ten, which a busy machine may take
patient = dict.fromkeys(
    [
        "dial_timeout",
        "inbound_upgrade_timeout",
        "outbound_upgrade_timeout",
        "inbound_stream_protocol_negotiation_timeout",
        "outbound_stream_protocol_negotiation_timeout",
    ],
    120,
)


def unlimited():
    config = ConnectionConfig(max_connections=LIMIT, high_watermark=LIMIT, **patient)
    limits = ResourceLimits(max_connections=LIMIT, max_memory_mb=LIMIT, max_streams=LIMIT)
    manager = ResourceManager(
        limits, connection_limits=ConnectionLimits(), enable_memory_limits=False, enable_rate_limiting=False
    )
    return {"connection_config": config, "resource_manager": manager}


async def main(feed, peers):
    async with trio.open_nursery() as nursery:
        host = new_host(**unlimited())
        async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            nursery.start_soon(publish, host, feed)
            print("publishing", host.get_id())
            for address in host.get_addrs():
                print("listening", address)
            for _ in range(peers):
                await nursery.start(connect, info_from_p2p_addr(host.get_addrs()[0]))
            print("ready", flush=True)
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            sys.stdout.flush()
            nursery.cancel_scope.cancel()


async def connect(to, task_status):
    other = new_host(connection_config=ConnectionConfig(**patient))
    async with other.run(listen_addrs=[]):
        await other.connect(to)
        print("connected", other.get_id())
        task_status.started()
        await trio.sleep_forever()


parser = argparse.ArgumentParser()
parser.add_argument("--feed", required=True)
parser.add_argument("--peers", type=int, default=0)
arguments = parser.parse_args()
trio.run(main, arguments.feed, arguments.peers)
