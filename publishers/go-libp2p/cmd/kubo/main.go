// Kubo, with a publisher in it: what it knows of itself goes to introspectd. A plugin in a file of
// its own would have to be built by the very toolchain that Kubo was.
//
//	ipfs config --json Plugins.Plugins.introspectd.Config.Feed '"/run/introspectd/node.sock"'
//	introspectd --feed /run/introspectd/node.sock
package main

import (
	"context"
	"errors"
	"os"

	"github.com/ipfs/kubo/cmd/ipfs/kubo"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/plugin"
	"github.com/ipfs/kubo/plugin/loader"

	introspect "introspectd/publishers/go-libp2p"
)

func main() {
	loader.Preload(&publisher{})
	os.Exit(kubo.Start(kubo.BuildDefaultEnv))
}

// publisher is a [plugin.PluginDaemonInternal]; without a feed in its configuration it does nothing.
type publisher struct {
	feed string
	stop context.CancelFunc
}

func (*publisher) Name() string    { return "introspectd" }
func (*publisher) Version() string { return "1.0.0" }

func (p *publisher) Init(environment *plugin.Environment) error {
	config, ok := environment.Config.(map[string]any)
	if feed := config["Feed"]; feed != nil {
		p.feed, ok = feed.(string)
	}
	if environment.Config != nil && !ok {
		return errors.New(`Plugins.Plugins.introspectd.Config must be like {"Feed": "/run/introspectd/node.sock"}`)
	}
	return nil
}

func (p *publisher) Start(node *core.IpfsNode) error {
	if p.feed == "" || node.PeerHost == nil {
		return nil
	}
	options := introspect.Options{Path: p.feed, PubSub: node.PubSub}
	if node.Reporter != nil { // not set with Swarm.DisableBandwidthMetrics
		options.Bandwidth = node.Reporter
	}
	if node.DHT != nil {
		options.DHT = node.DHT.WAN
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	return introspect.Publish(ctx, node.PeerHost, options)
}

// Close implements [io.Closer].
func (p *publisher) Close() error {
	if p.stop != nil {
		p.stop()
	}
	return nil
}
