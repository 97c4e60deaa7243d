package introspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"

	pb "introspectd/publishers/go-libp2p/introspection"
)

const mebibyte = 1 << 20

var transports = []struct{ listen, id, encryption, multiplexer string }{
	{"/ip4/127.0.0.1/tcp/0", "ip4+tcp", "/noise", "/yamux/1.0.0"},
	{"/ip4/127.0.0.1/tcp/0/ws", "ip4+tcp+ws", "/noise", "/yamux/1.0.0"},
	{"/ip4/127.0.0.1/udp/0/quic-v1", "ip4+udp+quic-v1", "quic", "quic"},
	{"/ip4/127.0.0.1/udp/0/quic-v1/webtransport", "ip4+udp+quic-v1+webtransport", "quic", "quic"},
}

func find(s *pb.State, p peer.ID) *pb.Connection {
	for _, c := range s.Subsystems.Connections {
		if c.PeerId == p.String() {
			return c
		}
	}
	return nil
}

func streamOf(c *pb.Connection, protocol string) *pb.Stream {
	for _, s := range c.GetStreams().GetStreams() {
		if s.Protocol == protocol {
			return s
		}
	}
	return nil
}

func protocolOf(s *pb.State, name string) *pb.ProtocolTraffic {
	for _, p := range s.Protocols {
		if p.Protocol == name {
			return p
		}
	}
	return nil
}

func TestConnections(t *testing.T) {
	for _, via := range transports {
		t.Run(via.id, func(t *testing.T) {
			began := time.Now().UnixMilli()
			node := newHostAt(t, via.listen, libp2p.Security("/noise", noise.New))
			other := newHostAt(t, via.listen, libp2p.Security("/noise", noise.New), libp2p.UserAgent("other/1.2.3"))
			handleEcho(other)
			daemons := map[host.Host]*daemon{node: watch(t, node, Options{}), other: watch(t, other, Options{})}
			c := connect(t, node, other)
			stream := exchange(t, node, other, 1)

			daemons[node].askUntil(func(s *pb.State) bool { return find(s, other.ID()).AgentVersion != "" })
			state := daemons[node].ask()
			seen := find(state, other.ID())
			equal(t, "connections", len(state.Subsystems.Connections), 1)
			equal(t, "id", string(seen.Id), c.ID())
			equal(t, "agent", seen.AgentVersion, "other/1.2.3")
			equal(t, "role", seen.Role, pb.Role_INITIATOR)
			equal(t, "status", seen.Status, pb.Status_ACTIVE)
			equal(t, "transport", string(seen.TransportId), via.id)
			equal(t, "encryption", seen.Attribs.Encryption, via.encryption)
			equal(t, "multiplexer", seen.Attribs.Multiplexer, via.multiplexer)
			equal(t, "own end", seen.Endpoints.SrcMultiaddr, c.LocalMultiaddr().String())
			equal(t, "other end", seen.Endpoints.DstMultiaddr, c.RemoteMultiaddr().String())
			equal(t, "limited", seen.Limited, false)
			equal(t, "opened", seen.Timeline.OpenTs, uint64(c.Stat().Opened.UnixMilli()))
			s := streamOf(seen, echo)
			equal(t, "stream", string(s.Id), stream.ID())
			equal(t, "stream's role", s.Role, pb.Role_INITIATOR)
			equal(t, "stream's opening", s.Timeline.OpenTs, uint64(stream.Stat().Opened.UnixMilli()))
			equal(t, "open streams", protocolOf(state, echo).Streams, 1)
			if now := time.Now().UnixMilli(); int64(state.InstantTs) < began || int64(state.InstantTs) > now {
				t.Errorf("taken at %d, not from %d to %d", state.InstantTs, began, now)
			}
			equal(t, "begin of the next", daemons[node].ask().StartTs, state.InstantTs)

			theirs := find(daemons[other].ask(), node.ID())
			equal(t, "their role", theirs.Role, pb.Role_RESPONDER)
			equal(t, "their stream's role", streamOf(theirs, echo).Role, pb.Role_RESPONDER)
			// the ports are what the daemon finds the kernel's connection by
			equal(t, "their own end", port(theirs.Endpoints.SrcMultiaddr), port(seen.Endpoints.DstMultiaddr))
			equal(t, "their other end", port(theirs.Endpoints.DstMultiaddr), port(seen.Endpoints.SrcMultiaddr))

			c.Close()
			closed := find(daemons[node].askUntil(func(s *pb.State) bool {
				return find(s, other.ID()).GetStatus() == pb.Status_CLOSED
			}), other.ID())
			if closed.Timeline.CloseTs < closed.Timeline.OpenTs {
				t.Error("closed before it was opened")
			}
			equal(t, "connections after that", len(daemons[node].ask().Subsystems.Connections), 0)
		})
	}
}

// port is an address from its port on, without what follows.
func port(a string) string { return strings.Split(a, "/")[4] }

func TestBytesOfQUIC(t *testing.T) {
	for _, via := range transports[2:] {
		t.Run(via.id, func(t *testing.T) {
			node, other := newHostAt(t, via.listen), newHostAt(t, via.listen)
			handleEcho(other)
			d := watch(t, node, Options{})
			connect(t, node, other)
			stream := exchange(t, node, other, mebibyte)
			first := find(d.ask(), other.ID())
			equal(t, "first rate in", first.Traffic.TrafficIn.InstBw, 0)
			equal(t, "first rate out", first.Traffic.TrafficOut.InstBw, 0)
			again(t, stream, mebibyte)
			second := find(d.ask(), other.ID())
			// on a busy machine much is taken for lost and sent again
			for tries := 0; tries < 10 && aMebibyteMore(first, second) != nil; tries++ {
				first = second
				again(t, stream, mebibyte)
				second = find(d.ask(), other.ID())
			}
			if err := aMebibyteMore(first, second); err != nil {
				t.Error(err)
			}
			if second.LatencyNs == 0 || second.LatencyNs > uint64(patience) {
				t.Errorf("latency %d ns", second.LatencyNs)
			}
		})
	}
}

func aMebibyteMore(before, now *pb.Connection) error {
	for _, gauges := range [][2]*pb.DataGauge{{before.Traffic.TrafficIn, now.Traffic.TrafficIn}, {before.Traffic.TrafficOut, now.Traffic.TrafficOut}} {
		grown := gauges[1].CumBytes - gauges[0].CumBytes
		if grown < mebibyte || grown > 2*mebibyte {
			return fmt.Errorf("grown by %d bytes, not by a MiB and its headers", grown)
		}
		if packets := gauges[1].CumPackets - gauges[0].CumPackets; packets < grown/65536 || packets > grown/100 {
			return fmt.Errorf("%d packets for %d bytes", packets, grown)
		}
		if gauges[1].InstBw == 0 {
			return errors.New("no rate")
		}
	}
	return nil
}

func TestBandwidth(t *testing.T) {
	bandwidth := metrics.NewBandwidthCounter()
	node, other := newHost(t, libp2p.BandwidthReporter(bandwidth)), newHost(t)
	handleEcho(other)
	d := watch(t, node, Options{Bandwidth: bandwidth})
	connect(t, node, other)
	stream := exchange(t, node, other, mebibyte)
	// the counters of go-libp2p are brought up to date once a second
	state := d.askUntil(func(s *pb.State) bool {
		p := protocolOf(s, echo)
		return p.GetTraffic().GetTrafficOut().GetCumBytes() >= mebibyte && p.Traffic.TrafficIn.CumBytes >= mebibyte
	})
	p := protocolOf(state, echo)
	// with what multistream-select says in the stream
	for _, bytes := range []uint64{p.Traffic.TrafficIn.CumBytes, p.Traffic.TrafficOut.CumBytes} {
		if bytes > mebibyte+100 {
			t.Errorf("%d bytes, expected little more than a MiB", bytes)
		}
	}
	if state.Traffic.TrafficOut.CumBytes < mebibyte {
		t.Errorf("in all %d bytes", state.Traffic.TrafficOut.CumBytes)
	}

	before := find(state, other.ID()).Traffic
	again(t, stream, mebibyte)
	d.askUntil(func(s *pb.State) bool {
		now := find(s, other.ID()).Traffic
		return now.TrafficOut.CumBytes-before.TrafficOut.CumBytes >= mebibyte &&
			now.TrafficIn.CumBytes-before.TrafficIn.CumBytes >= mebibyte
	})
	d.askUntil(func(s *pb.State) bool { // of what moves for more than a second
		again(t, stream, 1)
		of := protocolOf(s, echo).Traffic
		return min(s.Traffic.TrafficIn.InstBw, s.Traffic.TrafficOut.InstBw, of.TrafficIn.InstBw, of.TrafficOut.InstBw) > 0
	})
}

// The counters are by peer: what a second connection moves is not told as the first one's.
func TestBandwidthOfTwoConnections(t *testing.T) {
	bandwidth := metrics.NewBandwidthCounter()
	node, other := newHost(t, libp2p.BandwidthReporter(bandwidth)), newHost(t)
	twin := newHost(t, libp2p.Identity(other.Peerstore().PrivKey(other.ID())))
	handleEcho(node)
	d := watch(t, node, Options{Bandwidth: bandwidth})
	first := connect(t, other, node).LocalMultiaddr().String()
	counted := func(s *pb.State) uint64 {
		for _, c := range s.Subsystems.Connections {
			if c.Endpoints.DstMultiaddr == first {
				return c.Traffic.GetTrafficIn().GetCumBytes()
			}
		}
		return 0
	}
	d.ask()
	stream := exchange(t, other, node, mebibyte)
	d.askUntil(func(s *pb.State) bool { return counted(s) >= mebibyte })

	over := connect(t, twin, node)
	before := counted(d.askUntil(func(s *pb.State) bool { return len(s.Subsystems.Connections) == 2 }))
	exchange(t, twin, node, 4*mebibyte)
	d.askUntil(func(s *pb.State) bool { return protocolOf(s, echo).Traffic.TrafficIn.CumBytes >= 5*mebibyte })
	over.Close()
	d.askUntil(func(s *pb.State) bool { return len(s.Subsystems.Connections) == 1 })
	if moved := counted(d.ask()) - before; moved > mebibyte { // what identify still says at the close is told as the first one's
		t.Errorf("%d bytes of the other connection", moved)
	}
	before = counted(d.ask())
	again(t, stream, mebibyte)
	after := counted(d.askUntil(func(s *pb.State) bool { return counted(s) >= before+mebibyte }))
	if after > before+2*mebibyte {
		t.Errorf("%d bytes, with those of the other connection", after)
	}
}

func TestLatency(t *testing.T) {
	node, other := newHost(t), newHost(t)
	d := watch(t, node, Options{})
	connect(t, node, other)
	ctx, stop := context.WithCancel(t.Context())
	pings := ping.Ping(ctx, node, other.ID())
	if r := <-pings; r.Error != nil {
		t.Fatal(r.Error)
	}
	stop()
	for range pings { // until the last has ended
	}
	equal(t, "latency", find(d.ask(), other.ID()).LatencyNs, uint64(node.Peerstore().LatencyEWMA(other.ID())))
}

func TestRelayed(t *testing.T) {
	hop, node, other := newHost(t), newHost(t), newHost(t)
	if _, err := relay.New(hop); err != nil {
		t.Fatal(err)
	}
	d := watch(t, node, Options{})
	connect(t, other, hop)
	direct := connect(t, node, hop)
	if _, err := client.Reserve(t.Context(), other, peer.AddrInfo{ID: hop.ID(), Addrs: hop.Addrs()}); err != nil {
		t.Fatal(err)
	}
	via := ma.StringCast(hop.Addrs()[0].String() + "/p2p/" + hop.ID().String() + "/p2p-circuit")
	if err := node.Connect(t.Context(), peer.AddrInfo{ID: other.ID(), Addrs: []ma.Multiaddr{via}}); err != nil {
		t.Fatal(err)
	}
	state := d.ask()
	over := find(state, other.ID())
	equal(t, "limited", over.Limited, true)
	equal(t, "transport", string(over.TransportId), "ip4+tcp+p2p-circuit")
	equal(t, "goes over", string(over.GetConnId()), direct.ID())
	equal(t, "direct one limited", find(state, hop.ID()).Limited, false)
}

func TestDHT(t *testing.T) {
	newDHT := func() *dht.IpfsDHT {
		d, err := dht.New(t.Context(), newHost(t), dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/test"), dht.BucketSize(7))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	node, others := newDHT(), []*dht.IpfsDHT{newDHT(), newDHT(), newDHT()}
	d := watch(t, node.Host(), Options{DHT: node})
	for _, other := range others {
		connect(t, node.Host(), other.Host())
	}
	state := d.askUntil(func(s *pb.State) bool { return len(peersOf(s)) == len(others) })
	equal(t, "protocol", state.Subsystems.Dht.Protocol, "/test/kad/1.0.0")
	equal(t, "k", state.Subsystems.Dht.Params.K, 7)
	for _, other := range others {
		p, ok := peersOf(state)[other.PeerID().String()]
		equal(t, "is there", ok, true)
		equal(t, "bucket", p.cpl, sharedBits(node.PeerKey(), other.PeerKey()))
		equal(t, "status", p.Status, pb.DHT_PeerInDHT_ACTIVE)
	}
}

type peerInBucket struct {
	*pb.DHT_PeerInDHT
	cpl uint32
}

func peersOf(s *pb.State) map[string]peerInBucket {
	all := map[string]peerInBucket{}
	for _, b := range s.Subsystems.Dht.Buckets {
		for _, p := range b.Peers {
			all[p.PeerId] = peerInBucket{p, b.Cpl}
		}
	}
	return all
}

func sharedBits(a, b []byte) (n uint32) {
	for a[n/8]>>(7-n%8)&1 == b[n/8]>>(7-n%8)&1 {
		n++
	}
	return n
}

func TestTopics(t *testing.T) {
	tracer := NewTracer(nil)
	subscribe := func(h host.Host, options ...pubsub.Option) (*pubsub.PubSub, *pubsub.Subscription) {
		ps, err := pubsub.NewGossipSub(t.Context(), h, options...)
		if err != nil {
			t.Fatal(err)
		}
		topic, err := ps.Join("weather")
		if err != nil {
			t.Fatal(err)
		}
		s, err := topic.Subscribe()
		if err != nil {
			t.Fatal(err)
		}
		return ps, s
	}
	node, other := newHost(t), newHost(t)
	ps, subscription := subscribe(node, tracer.PubSub())
	subscribe(other)
	d := watch(t, node, Options{PubSub: ps, Tracer: tracer})
	connect(t, node, other)
	state := d.askUntil(func(s *pb.State) bool { return len(s.Topics) == 1 && len(s.Topics[0].MeshPeerIds) == 1 })
	equal(t, "topic", state.Topics[0].Name, "weather")
	equal(t, "subscribers", state.Topics[0].Subscribers, 1)
	equal(t, "mesh", state.Topics[0].MeshPeerIds[0], other.ID().String())

	other.Close()
	d.askUntil(func(s *pb.State) bool { return len(s.Topics[0].MeshPeerIds) == 0 && s.Topics[0].Subscribers == 0 })
	subscription.Cancel()
	d.askUntil(func(s *pb.State) bool { return len(s.Topics) == 0 })
}

func TestAddresses(t *testing.T) {
	public, unreachable, name := "/ip4/8.8.8.8/tcp/4001", "/ip4/9.9.9.9/tcp/4001", "/dns4/node.example/tcp/4001"
	node := newHost(t, libp2p.AddrsFactory(func(own []ma.Multiaddr) []ma.Multiaddr {
		return append(slices.Clone(own), ma.StringCast(public), ma.StringCast(unreachable), ma.StringCast(name))
	}))
	d := watch(t, node, Options{})
	reachable := func() map[string]pb.OwnAddress_Reachability {
		all := map[string]pb.OwnAddress_Reachability{}
		for _, a := range d.ask().Addresses {
			all[a.Multiaddr] = a.Reachability
		}
		return all
	}
	loopback := func() pb.OwnAddress_Reachability {
		for a, r := range reachable() {
			if strings.HasPrefix(a, "/ip4/127.0.0.1/") {
				return r
			}
		}
		return pb.OwnAddress_UNKNOWN
	}
	d.askUntil(func(*pb.State) bool { return loopback() == pb.OwnAddress_PRIVATE })
	equal(t, "unknown", reachable()[public], pb.OwnAddress_UNKNOWN)

	tell := func() {
		emit(t, node, event.EvtHostReachableAddrsChanged{Reachable: []ma.Multiaddr{ma.StringCast(public)}, Unreachable: []ma.Multiaddr{ma.StringCast(unreachable)}})
		emit(t, node, event.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPublic})
	}
	tell()
	for { // the host tells its own findings beside
		if _, content := d.event("ReachabilityChanged"); content["reachability"] == "public" {
			break
		}
	}
	d.askUntil(func(*pb.State) bool {
		tell() // again, for the same reason
		r := reachable()
		return r[public] == pb.OwnAddress_PUBLIC && r[unreachable] == pb.OwnAddress_PRIVATE && r[name] == pb.OwnAddress_PUBLIC
	})
}

func emit[T any](t *testing.T, h host.Host, e T) {
	t.Helper()
	emitter, err := h.EventBus().Emitter(new(T), eventbus.Stateful)
	if err != nil {
		t.Fatal(err)
	}
	defer emitter.Close()
	if err := emitter.Emit(e); err != nil {
		t.Fatal(err)
	}
}

func TestResources(t *testing.T) {
	limits := rcmgr.PartialLimitConfig{System: rcmgr.ResourceLimits{ConnsInbound: 7, StreamsOutbound: rcmgr.Unlimited}}
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(rcmgr.DefaultLimits.AutoScale())))
	if err != nil {
		t.Fatal(err)
	}
	node, other := newHost(t, libp2p.ResourceManager(manager)), newHost(t)
	d := watch(t, node, Options{})
	connect(t, other, node)
	state := d.askUntil(func(s *pb.State) bool { return resource(s, "system", "conns-inbound").Used == 1 })
	equal(t, "limit", resource(state, "system", "conns-inbound").Limit, 7)
	equal(t, "no limit", resource(state, "system", "streams-outbound").Limit, 0)
	if memory := resource(state, "process", "memory").Used; memory < mebibyte {
		t.Errorf("the process has %d bytes", memory)
	}
	if resource(state, "transient", "open-files").Limit == 0 {
		t.Error("no limit for files of those that are not yet connections")
	}
}

func resource(s *pb.State, scope, name string) *pb.Resource {
	for _, r := range s.Resources {
		if r.Scope == scope && r.Name == name {
			return r
		}
	}
	return nil
}

func TestTextOfPeers(t *testing.T) {
	node, other := newHost(t), newHost(t, libp2p.UserAgent("evil\xff"))
	d := watch(t, node, Options{})
	connect(t, node, other)
	d.askUntil(func(s *pb.State) bool { return find(s, other.ID()).AgentVersion == "evil\ufffd" })
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, expected %v", what, got, want)
	}
}
