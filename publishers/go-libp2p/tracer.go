package introspect

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
)

// Tracer hears what go-libp2p tells only to those who are there from the beginning: failed dials
// (Swarm) and the mesh of gossipsub (PubSub). Make one per host, with NewTracer.
type Tracer struct {
	next swarm.MetricsTracer
	mesh mesh
	sink atomic.Pointer[feed]
}

// NewTracer makes a tracer that hands everything on to next, for example
// swarm.NewMetricsTracer(); nil: to nobody.
func NewTracer(next swarm.MetricsTracer) *Tracer {
	if next == nil {
		next = swarm.NewMetricsTracer(swarm.WithRegisterer(prometheus.NewRegistry()))
	}
	return &Tracer{next: next, mesh: mesh{peers: map[string]map[peer.ID]struct{}{}}}
}

// Swarm is for libp2p.SwarmOpts. go-libp2p puts a tracer of its own in the place of any other
// unless it was also given libp2p.DisableMetrics.
func (t *Tracer) Swarm() swarm.Option {
	return swarm.WithMetricsTracer(dials{t.next, t})
}

// PubSub is for pubsub.NewGossipSub.
func (t *Tracer) PubSub() pubsub.Option { return pubsub.WithRawTracer(&t.mesh) }

type dials struct {
	swarm.MetricsTracer
	tracer *Tracer
}

// FailedDialing implements [swarm.MetricsTracer]. That another dial to the same peer was faster is
// no failure.
func (d dials) FailedDialing(addr ma.Multiaddr, err, cause error) {
	d.MetricsTracer.FailedDialing(addr, err, cause)
	if f := d.tracer.sink.Load(); f != nil && (cause == nil || cause.Error() != "concurrent dial successful") {
		f.offer("DialFailed", func() any { return object{"multiaddr": addr.String(), "reason": err.Error()} })
	}
}

// mesh is a [pubsub.RawTracer] that keeps who is in the mesh of each topic.
type mesh struct {
	mu    sync.Mutex
	peers map[string]map[peer.ID]struct{}
}

// of returns the peers in the topic's mesh, as texts and in order.
func (m *mesh) of(topic string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for p := range maps.Keys(m.peers[topic]) {
		all = append(all, p.String())
	}
	slices.Sort(all)
	return all
}

func (m *mesh) Graft(p peer.ID, topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers[topic] == nil {
		m.peers[topic] = map[peer.ID]struct{}{}
	}
	m.peers[topic][p] = struct{}{}
}

func (m *mesh) Prune(p peer.ID, topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers[topic], p)
}

func (m *mesh) Leave(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers, topic)
}

// OnClosedOutboundStream is how gossipsub tells that a peer is gone, and with it from every mesh.
func (m *mesh) OnClosedOutboundStream(p peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, peers := range m.peers {
		delete(peers, p)
	}
}

func (*mesh) OnNewOutboundStream(peer.ID, protocol.ID) {}
func (*mesh) Join(string)                              {}
func (*mesh) ValidateMessage(*pubsub.Message)          {}
func (*mesh) DeliverMessage(*pubsub.Message)           {}
func (*mesh) RejectMessage(*pubsub.Message, string)    {}
func (*mesh) DuplicateMessage(*pubsub.Message)         {}
func (*mesh) ThrottlePeer(peer.ID)                     {}
func (*mesh) RecvRPC(*pubsub.RPC)                      {}
func (*mesh) SendRPC(*pubsub.RPC, peer.ID)             {}
func (*mesh) DropRPC(*pubsub.RPC, peer.ID)             {}
func (*mesh) UndeliverableMessage(*pubsub.Message)     {}

// Of pubsub 0.17 and later.

func (*mesh) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
