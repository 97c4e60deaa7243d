// Package introspect publishes what a go-libp2p host knows about itself to introspectd, which
// shows it: a State each time the daemon asks for one, and events as they happen.
package introspect

import (
	"context"
	"errors"
	"fmt"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
)

//go:generate sh generate.sh introspection

// Options say where to publish and what besides the host itself. Each field but Path may be
// left out, and then what it knows is not published.
type Options struct {
	// Path of the Unix socket given to introspectd --feed.
	Path string
	// DHT of the node; of a dual DHT, its WAN half.
	DHT *dht.IpfsDHT
	// PubSub of the node, for its topics and their subscribers; their mesh is the Tracer's.
	PubSub *pubsub.PubSub
	// Bandwidth that the host was given with libp2p.BandwidthReporter.
	Bandwidth metrics.Reporter
	// Tracer that the host and its pubsub were given. Of several publishers with the same
	// one, the last gets the failed dials.
	Tracer *Tracer
}

type publisher struct {
	host   host.Host
	states *states
	feed   *feed
}

// Publish publishes the host until ctx is done. It returns at once, whether or not a daemon is
// there, and fails only if there is no path or the host's event bus refuses a subscription. After
// that no error reaches the host: what goes wrong is logged under the name "introspectd", a
// panic while a state is made included, and the connection to the daemon is made again.
func Publish(ctx context.Context, h host.Host, options Options) error {
	if options.Path == "" {
		return errors.New("introspect: Options.Path must name the daemon's feed socket")
	}
	bus, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerIdentificationFailed),
		new(event.EvtLocalReachabilityChanged),
		new(event.EvtHostReachableAddrsChanged),
		new(event.EvtLocalAddressesUpdated),
	}, eventbus.BufSize(256), eventbus.Name("introspectd"))
	if err != nil {
		return fmt.Errorf("introspect: %w", err)
	}

	p := newPublisher(h, options)
	notifiee := &network.NotifyBundle{ConnectedF: p.connected, DisconnectedF: p.disconnected}
	h.Network().Notify(notifiee)
	if options.Tracer != nil {
		options.Tracer.sink.Store(p.feed)
	}

	go p.listen(bus)
	go func() {
		p.feed.run(ctx)
		if options.Tracer != nil {
			options.Tracer.sink.CompareAndSwap(p.feed, nil)
		}
		h.Network().StopNotify(notifiee)
		bus.Close()
	}()
	return nil
}

func newPublisher(h host.Host, options Options) *publisher {
	p := &publisher{host: h, states: newStates(h, options)}
	p.feed = &feed{
		path:   options.Path,
		log:    gologshim.Logger("introspectd"),
		hello:  p.hello,
		state:  p.states.make,
		events: make(chan eventMessage, maxEvents),
	}
	return p
}

// listen ends when the subscription is closed. It does nothing that could block, since emitters of
// the host wait for it when its buffer is full.
func (p *publisher) listen(bus event.Subscription) {
	for e := range bus.Out() {
		p.feed.safely("event", func() { p.happened(e) })
	}
}

// The host's network calls these two, and waits for them.

func (p *publisher) connected(_ network.Network, c network.Conn) {
	p.feed.offer("ConnectionOpened", func() any { return aboutConnection(c) })
}

func (p *publisher) disconnected(_ network.Network, c network.Conn) {
	p.feed.safely("disconnected", func() {
		p.states.closedOne(c)
		p.feed.offer("ConnectionClosed", func() any { return aboutClosed(c) })
	})
}
