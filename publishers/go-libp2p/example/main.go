// A node that publishes what it knows to introspectd:
//
//	introspectd --feed /tmp/node.sock
//	go run ./example /tmp/node.sock [MULTIADDR/p2p/PEER ...]
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"

	introspect "introspectd/publishers/go-libp2p"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: example FEED [MULTIADDR/p2p/PEER ...]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	bandwidth, tracer := metrics.NewBandwidthCounter(), introspect.NewTracer(nil)
	h := must(libp2p.New(libp2p.BandwidthReporter(bandwidth), libp2p.SwarmOpts(tracer.Swarm()), libp2p.DisableMetrics()))
	defer h.Close()
	d := must(dht.New(ctx, h))
	ps := must(pubsub.NewGossipSub(ctx, h, tracer.PubSub()))
	must(must(ps.Join("weather")).Subscribe())

	options := introspect.Options{Path: os.Args[1], DHT: d, PubSub: ps, Bandwidth: bandwidth, Tracer: tracer}
	if err := introspect.Publish(ctx, h, options); err != nil {
		log.Fatal(err)
	}
	for _, a := range must(peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()})) {
		fmt.Println(a)
	}
	for _, a := range os.Args[2:] {
		if err := h.Connect(ctx, *must(peer.AddrInfoFromString(a))); err != nil {
			log.Print(err)
		}
	}
	<-ctx.Done()
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
