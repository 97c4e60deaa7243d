// What publishers/contract runs of this publisher; see publishers/contract/publishers.mjs.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	introspect "introspectd/publishers/go-libp2p"
)

const (
	echo     = "/echo/1.0.0"
	patience = time.Minute // for a dial, which over loopback has 5 s else; a busy machine may take them
)

func main() {
	feed := flag.String("feed", "", "socket of the daemon")
	peers := flag.Int("peers", 0, "how many other nodes connect to the one that is published")
	member := flag.Bool("swarm", false, "with DHT and gossipsub")
	flag.Parse()
	ctx := context.Background()

	bandwidth, tracer := metrics.NewBandwidthCounter(), introspect.NewTracer(nil)
	own := []libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.BandwidthReporter(bandwidth), libp2p.SwarmOpts(tracer.Swarm(), swarm.WithDialTimeoutLocal(patience))}
	if !*member {
		own = append(own, unlimited)
	}
	h := node(own...)
	h.SetStreamHandler(echo, func(s network.Stream) {
		io.Copy(s, s)
		s.Close()
	})
	options := introspect.Options{Path: *feed, Bandwidth: bandwidth, Tracer: tracer}
	if *member {
		options.DHT = must(dht.New(ctx, h, dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/introspectd"), dht.DisableAutoRefresh()))
		options.PubSub = must(pubsub.NewGossipSub(ctx, h, tracer.PubSub()))
		must(must(options.PubSub.Join("weather")).Subscribe())
	}
	check(introspect.Publish(ctx, h, options))

	fmt.Println("publishing", h.ID())
	for _, a := range h.Addrs() {
		fmt.Printf("listening %s/p2p/%s\n", a, h.ID())
	}
	for range *peers {
		other := node(libp2p.NoListenAddrs, libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(patience)), unlimited)
		check(other.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
		fmt.Println("connected", other.ID())
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		obey(ctx, h, lines.Text())
		fmt.Println("done", lines.Text())
	}
}

func obey(ctx context.Context, h host.Host, line string) {
	var command, whom string
	var bytes int64
	fmt.Sscan(line, &command, &whom, &bytes)
	if command == "dial" {
		check(h.Connect(ctx, *must(peer.AddrInfoFromString(whom))))
		return
	}
	s := must(h.NewStream(ctx, must(peer.Decode(whom)), echo))
	go func() { must(s.Write(make([]byte, bytes))) }()
	must(io.CopyN(io.Discard, s, bytes))
}

// A thousand others come from one address.
var unlimited = libp2p.ResourceManager(&network.NullResourceManager{})

func node(options ...libp2p.Option) host.Host {
	return must(libp2p.New(append(options, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport), libp2p.WithDialTimeout(patience), libp2p.DisableRelay(), libp2p.DisableMetrics())...))
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
