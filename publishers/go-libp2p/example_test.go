package introspect_test

import (
	"context"
	"log"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/metrics"

	introspect "introspectd/publishers/go-libp2p"
)

func ExamplePublish() {
	h, err := libp2p.New()
	if err != nil {
		log.Fatal(err)
	}
	options := introspect.Options{Path: "/run/introspectd/node.sock"}
	if err := introspect.Publish(context.Background(), h, options); err != nil {
		log.Fatal(err)
	}
}

// With all that a host alone does not tell.
func ExamplePublish_everything() {
	bandwidth, tracer := metrics.NewBandwidthCounter(), introspect.NewTracer(nil)
	h, err := libp2p.New(libp2p.BandwidthReporter(bandwidth),
		libp2p.SwarmOpts(tracer.Swarm()), libp2p.DisableMetrics())
	if err != nil {
		log.Fatal(err)
	}
	ps, err := pubsub.NewGossipSub(context.Background(), h, tracer.PubSub())
	if err != nil {
		log.Fatal(err)
	}
	options := introspect.Options{Path: "/run/introspectd/node.sock", PubSub: ps, Bandwidth: bandwidth, Tracer: tracer}
	if err := introspect.Publish(context.Background(), h, options); err != nil {
		log.Fatal(err)
	}
}
