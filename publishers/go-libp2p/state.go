package introspect

import (
	"maps"
	"math"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	kbucket "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	p2pmetrics "github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	pb "introspectd/publishers/go-libp2p/introspection"
)

const (
	maxClosed    = 1024             // kept for the next state; when more close, the oldest go
	maxProtocols = 1024             // told; a peer may make up names
	unwatched    = 10 * time.Second // since the last state: nobody will want to see what closed
)

// states makes the State messages of one host.
type states struct {
	host    host.Host
	options Options

	// What the next state is told by others, and under mu.
	mu           sync.Mutex
	asked        time.Time // when the last state was made; zero: never
	closed       []closedConn
	reachability network.Reachability
	confirmed    event.EvtHostReachableAddrsChanged // the latest: what AutoNAT v2 found of each address

	// What the last state knew, for rates.
	previous time.Time
	accounts map[string]account // by connection
}

type closedConn struct {
	network.Conn
	at time.Time
}

// account is what a connection moved and, where the counters are by peer, what they said then.
type account struct {
	in, out, packetsIn, packetsOut uint64
	peerIn, peerOut                int64
	shared                         bool // the peer had more connections
}

func newStates(h host.Host, options Options) *states {
	return &states{host: h, options: options, previous: time.Now()}
}

// closedOne shows the connection once more, in the next state, if somebody watches.
func (s *states) closedOne(c network.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) > unwatched {
		s.closed = nil
		return
	}
	if len(s.closed) == maxClosed {
		s.closed = s.closed[1:]
	}
	s.closed = append(s.closed, closedConn{c, time.Now()})
}

func (s *states) reachabilityChanged(r network.Reachability) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reachability = r
}

func (s *states) addressesConfirmed(e event.EvtHostReachableAddrsChanged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = e
}

// make returns a State; what closed and what moved is told from the previous one on. Not for two
// goroutines at a time.
func (s *states) make() *pb.State {
	now := time.Now()
	s.mu.Lock()
	first := s.asked.IsZero()
	s.asked = now
	closed := s.closed
	s.closed = nil
	s.mu.Unlock()

	open := s.host.Network().Conns()
	m := &maker{states: s, accounts: map[string]account{}, streams: map[protocol.ID]uint32{}}
	if !first {
		m.seconds = now.Sub(s.previous).Seconds()
	}
	if s.options.Bandwidth != nil {
		m.peers = s.options.Bandwidth.GetBandwidthByPeer()
	}
	connections := make([]*pb.Connection, 0, len(open)+len(closed))
	for _, c := range open {
		connections = append(connections, m.connection(c))
	}
	for _, c := range closed {
		connections = append(connections, m.closedConnection(c))
	}

	state := &pb.State{
		Subsystems: &pb.Subsystems{Connections: connections, Dht: s.dht(now)},
		InstantTs:  milliseconds(now),
		StartTs:    milliseconds(s.previous),
		Addresses:  s.addresses(),
		Protocols:  s.protocols(m.streams),
		Topics:     s.topics(),
		Resources:  s.resources(),
	}
	if b := s.options.Bandwidth; b != nil {
		state.Traffic = total(b.GetBandwidthTotals())
	}
	s.previous, s.accounts = now, m.accounts
	state.SnapshotDurationMs = uint32(time.Since(now).Milliseconds())
	return state
}

// maker is what the connections of one state have in common.
type maker struct {
	*states
	seconds  float64            // since the last state; 0: there was none
	accounts map[string]account // by connection, for the next state
	peers    map[peer.ID]p2pmetrics.Stats
	streams  map[protocol.ID]uint32
}

func (m *maker) connection(c network.Conn) *pb.Connection {
	stat, how, remote := c.Stat(), c.ConnState(), c.RemoteMultiaddr()
	p, id := c.RemotePeer(), c.ID()
	message := &pb.Connection{
		Id:          []byte(id),
		PeerId:      p.String(),
		TransportId: []byte(transport(remote)),
		Endpoints:   &pb.EndpointPair{SrcMultiaddr: text(c.LocalMultiaddr().String()), DstMultiaddr: text(remote.String())},
		Timeline:    &pb.Connection_Timeline{OpenTs: milliseconds(stat.Opened)},
		Role:        role(stat.Direction),
		Attribs:     &pb.Connection_Attributes{Multiplexer: text(string(how.StreamMultiplexer)), Encryption: text(string(how.Security))},
		LatencyNs:   uint64(m.host.Peerstore().LatencyEWMA(p)),
		Limited:     stat.Limited,
	}
	if agent, err := m.host.Peerstore().Get(p, "AgentVersion"); err == nil {
		if name, ok := agent.(string); ok {
			message.AgentVersion = text(name)
		}
	}
	for _, relay := range m.host.Network().ConnsToPeer(relayOf(remote)) {
		if !relay.Stat().Limited {
			message.RelayedOver = &pb.Connection_ConnId{ConnId: []byte(relay.ID())}
		}
	}
	m.count(c, id, message)
	message.Streams = &pb.StreamList{Streams: m.openStreams(c)}
	return message
}

// count fills in what is counted: of QUIC all that went over the wire, else what its streams moved
// since it was first seen, but while its peer has other connections: go-libp2p counts by peer.
func (m *maker) count(c network.Conn, id string, message *pb.Connection) {
	before, seen := m.states.accounts[id]
	now, known := before, seen // of one that closed, what was last seen
	if q := quicConn(c); q != nil {
		stats := q.ConnectionStats()
		now, known = account{in: stats.BytesReceived, out: stats.BytesSent, packetsIn: stats.PacketsReceived, packetsOut: stats.PacketsSent}, true
		message.LatencyNs = uint64(stats.SmoothedRTT)
		message.LostPackets = stats.PacketsLost
		if message.Attribs.Encryption == "" { // both are the transport's own
			message.Attribs.Encryption, message.Attribs.Multiplexer = "quic", "quic"
		}
	} else if p := c.RemotePeer(); m.peers != nil && slices.Equal(m.host.Network().ConnsToPeer(p), []network.Conn{c}) {
		total := m.peers[p]
		in, out := total.TotalIn-before.peerIn, total.TotalOut-before.peerOut
		if seen && !before.shared && in >= 0 && out >= 0 { // else the peer's counters began anew
			now.in, now.out = now.in+uint64(in), now.out+uint64(out)
		}
		now.peerIn, now.peerOut, now.shared, known = total.TotalIn, total.TotalOut, false, true
	} else {
		now.shared = true
	}
	if !known {
		return
	}
	m.accounts[id] = now
	gauge := func(bytes, before, packets uint64) *pb.DataGauge {
		g := &pb.DataGauge{CumBytes: bytes, CumPackets: packets}
		if seen && m.seconds > 0 && bytes > before {
			g.InstBw = uint64(float64(bytes-before) / m.seconds)
		}
		return g
	}
	message.Traffic = &pb.Traffic{
		TrafficIn:  gauge(now.in, before.in, now.packetsIn),
		TrafficOut: gauge(now.out, before.out, now.packetsOut),
	}
}

func (m *maker) closedConnection(c closedConn) *pb.Connection {
	message := m.connection(c.Conn)
	message.Status = pb.Status_CLOSED
	message.Timeline.CloseTs = milliseconds(c.at)
	message.CloseReason = closeReason(c.Conn)
	delete(m.accounts, c.ID())
	return message
}

func (m *maker) openStreams(c network.Conn) []*pb.Stream {
	open := c.GetStreams()
	all := make([]*pb.Stream, len(open))
	for i, s := range open {
		if s.Protocol() != "" { // else it is still being negotiated
			m.streams[s.Protocol()]++
		}
		all[i] = &pb.Stream{
			Id:       []byte(s.ID()),
			Protocol: text(string(s.Protocol())),
			Role:     role(s.Stat().Direction),
			Timeline: &pb.Stream_Timeline{OpenTs: milliseconds(s.Stat().Opened)},
		}
	}
	return all
}

func role(d network.Direction) pb.Role {
	if d == network.DirInbound {
		return pb.Role_RESPONDER
	}
	return pb.Role_INITIATOR
}

// transport is for example ip4+tcp, ip4+udp+quic-v1 or ip4+tcp+p2p-circuit. Components that say
// who or where, and not by which transport, are left out.
func transport(a ma.Multiaddr) string {
	var names []string
	for _, c := range a {
		switch c.Protocol().Code {
		case ma.P_P2P, ma.P_CERTHASH, ma.P_SNI, ma.P_HTTP_PATH:
		default:
			names = append(names, c.Protocol().Name)
		}
	}
	return strings.Join(names, "+")
}

// relayOf is empty if the address does not lead over a relay.
func relayOf(a ma.Multiaddr) peer.ID {
	circuit := slices.IndexFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if circuit < 1 || a[circuit-1].Protocol().Code != ma.P_P2P {
		return ""
	}
	relay, err := peer.IDFromBytes(a[circuit-1].RawValue())
	if err != nil {
		return ""
	}
	return relay
}

func (s *states) dht(now time.Time) *pb.DHT {
	d := s.options.DHT
	if d == nil {
		return nil
	}
	message := &pb.DHT{Enabled: true, Params: &pb.DHT_Params{K: uint64(d.BucketSize())}}
	// The DHT does not tell; as a client it handles none, and the LAN half of a dual one is not meant.
	served := slices.DeleteFunc(s.host.Mux().Protocols(), func(p protocol.ID) bool {
		return !strings.HasSuffix(string(p), "/kad/1.0.0") || strings.Contains(string(p), "/lan/")
	})
	if len(served) == 1 {
		message.Protocol = text(string(served[0]))
	}
	self := kbucket.ConvertPeerID(s.host.ID())
	buckets := map[int]*pb.DHT_Bucket{}
	for _, info := range d.RoutingTable().GetPeerInfos() {
		cpl := kbucket.CommonPrefixLen(self, kbucket.ConvertPeerID(info.Id))
		if buckets[cpl] == nil {
			buckets[cpl] = &pb.DHT_Bucket{Cpl: uint32(cpl)}
			message.Buckets = append(message.Buckets, buckets[cpl])
		}
		status := pb.DHT_PeerInDHT_MISSING
		if s.host.Network().Connectedness(info.Id) == network.Connected {
			status = pb.DHT_PeerInDHT_ACTIVE
		}
		age := min(max(0, now.Sub(info.AddedAt).Milliseconds()), math.MaxUint32)
		buckets[cpl].Peers = append(buckets[cpl].Peers,
			&pb.DHT_PeerInDHT{PeerId: info.Id.String(), Status: status, AgeInBucket: uint32(age)})
	}
	slices.SortFunc(message.Buckets, func(a, b *pb.DHT_Bucket) int { return int(a.Cpl) - int(b.Cpl) })
	return message
}

func (s *states) addresses() []*pb.OwnAddress {
	own := s.host.Addrs()
	s.mu.Lock()
	reachability, confirmed := s.reachability, s.confirmed
	s.mu.Unlock()
	all := make([]*pb.OwnAddress, len(own))
	for i, a := range own {
		all[i] = &pb.OwnAddress{Multiaddr: text(a.String())}
		switch {
		case !manet.IsPublicAddr(a), slices.ContainsFunc(confirmed.Unreachable, a.Equal):
			all[i].Reachability = pb.OwnAddress_PRIVATE
		case slices.ContainsFunc(confirmed.Reachable, a.Equal):
			all[i].Reachability = pb.OwnAddress_PUBLIC
		case relayOf(a) != "": // the node's own reachability says nothing of a relay's
		case reachability == network.ReachabilityPublic:
			all[i].Reachability = pb.OwnAddress_PUBLIC
		case reachability == network.ReachabilityPrivate:
			all[i].Reachability = pb.OwnAddress_PRIVATE
		}
	}
	return all
}

func (s *states) protocols(streams map[protocol.ID]uint32) []*pb.ProtocolTraffic {
	traffic := map[protocol.ID]p2pmetrics.Stats{}
	if b := s.options.Bandwidth; b != nil {
		traffic = b.GetBandwidthByProtocol()
	}
	for name := range traffic {
		streams[name] += 0 // is listed, too
	}
	delete(streams, "") // the bytes of negotiations
	names := slices.Sorted(maps.Keys(streams))
	var all []*pb.ProtocolTraffic
	for _, name := range names[:min(len(names), maxProtocols)] {
		message := &pb.ProtocolTraffic{Protocol: text(string(name)), Streams: streams[name]}
		if t, ok := traffic[name]; ok {
			message.Traffic = total(t)
		}
		all = append(all, message)
	}
	return all
}

func total(s p2pmetrics.Stats) *pb.Traffic {
	gauge := func(bytes int64, rate float64) *pb.DataGauge {
		return &pb.DataGauge{CumBytes: uint64(max(0, bytes)), InstBw: uint64(max(0, rate))}
	}
	return &pb.Traffic{TrafficIn: gauge(s.TotalIn, s.RateIn), TrafficOut: gauge(s.TotalOut, s.RateOut)}
}

func (s *states) topics() []*pb.Topic {
	if s.options.PubSub == nil {
		return nil
	}
	var all []*pb.Topic
	for _, name := range s.options.PubSub.GetTopics() {
		topic := &pb.Topic{Name: text(name), Subscribers: uint32(len(s.options.PubSub.ListPeers(name)))}
		if s.options.Tracer != nil {
			topic.MeshPeerIds = s.options.Tracer.mesh.of(name)
		}
		all = append(all, topic)
	}
	slices.SortFunc(all, func(a, b *pb.Topic) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *states) resources() []*pb.Resource {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(samples)
	all := []*pb.Resource{
		{Scope: "process", Name: "memory", Used: samples[0].Value.Uint64()},
		{Scope: "process", Name: "goroutines", Used: samples[1].Value.Uint64()},
	}
	in := func(name string) func(network.ResourceScope) error {
		return func(scope network.ResourceScope) error {
			if limiter, ok := scope.(rcmgr.ResourceScopeLimiter); ok {
				all = append(all, scopeResources(name, scope.Stat(), limiter.Limit())...)
			}
			return nil
		}
	}
	manager := s.host.Network().ResourceManager()
	_ = manager.ViewSystem(in("system"))
	_ = manager.ViewTransient(in("transient"))
	return all
}

func scopeResources(scope string, used network.ScopeStat, limit rcmgr.Limit) []*pb.Resource {
	one := func(name string, used, limit int64) *pb.Resource {
		if limit == math.MaxInt64 {
			limit = 0 // none
		}
		return &pb.Resource{Scope: scope, Name: name, Used: uint64(max(0, used)), Limit: uint64(max(0, limit))}
	}
	return []*pb.Resource{
		one("conns-inbound", int64(used.NumConnsInbound), int64(limit.GetConnLimit(network.DirInbound))),
		one("conns-outbound", int64(used.NumConnsOutbound), int64(limit.GetConnLimit(network.DirOutbound))),
		one("streams-inbound", int64(used.NumStreamsInbound), int64(limit.GetStreamLimit(network.DirInbound))),
		one("streams-outbound", int64(used.NumStreamsOutbound), int64(limit.GetStreamLimit(network.DirOutbound))),
		one("memory", used.Memory, limit.GetMemoryLimit()),
		one("open-files", int64(used.NumFD), int64(limit.GetFDLimit())),
	}
}
