// What publishers/contract runs of this publisher; see publishers/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	introspect "introspectd/publishers/go-libp2p"
)

func main() {
	feed := flag.String("feed", "", "socket of the daemon")
	peers := flag.Int("peers", 0, "how many other nodes connect to the one that is published")
	flag.Parse()
	ctx := context.Background()

	bandwidth := metrics.NewBandwidthCounter()
	h := node(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.BandwidthReporter(bandwidth))
	if err := introspect.Publish(ctx, h, introspect.Options{Path: *feed, Bandwidth: bandwidth}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("publishing", h.ID())
	own := peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
	for _, a := range own.Addrs {
		fmt.Printf("listening %s/p2p/%s\n", a, h.ID())
	}
	for range *peers {
		other := node(libp2p.NoListenAddrs)
		if err := other.Connect(ctx, own); err != nil {
			log.Fatal(err)
		}
		fmt.Println("connected", other.ID())
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// node has no limits: a thousand others come from one address.
func node(options ...libp2p.Option) host.Host {
	h, err := libp2p.New(append(options, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport), libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(), libp2p.DisableMetrics())...)
	if err != nil {
		log.Fatal(err)
	}
	return h
}
