package introspect

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	pb "introspectd/publishers/go-libp2p/introspection"
)

// object is the content of an event; its keys are the properties of the event's type.
type object = map[string]any

const (
	aString = pb.EventType_EventProperty_STRING
	aTime   = pb.EventType_EventProperty_TIME
	aPeer   = pb.EventType_EventProperty_PEERID
)

func one(name string, t pb.EventType_EventProperty_PropertyType) *pb.EventType_EventProperty {
	return &pb.EventType_EventProperty{Name: name, Type: t}
}

func many(name string) *pb.EventType_EventProperty {
	return &pb.EventType_EventProperty{Name: name, HasMultiple: true}
}

// eventTypes are all that can be sent. No MULTIADDR: the observer toolkit's UI ends when one is to
// be shown.
func eventTypes() []*pb.EventType {
	type properties = []*pb.EventType_EventProperty
	connection := properties{one("connectionId", aString), one("peerId", aPeer), one("multiaddr", aString), one("direction", aString)}
	return []*pb.EventType{
		{Name: "ConnectionOpened", PropertyTypes: connection},
		{Name: "ConnectionClosed", PropertyTypes: append(slices.Clone(connection), one("openedAt", aTime), one("reason", aString))},
		{Name: "PeerConnected", PropertyTypes: properties{one("peerId", aPeer)}},
		{Name: "PeerDisconnected", PropertyTypes: properties{one("peerId", aPeer)}},
		{Name: "PeerIdentified", PropertyTypes: properties{one("peerId", aPeer), one("connectionId", aString),
			one("agentVersion", aString), one("protocolVersion", aString), many("protocols"), many("listenAddrs"),
			one("observedAddr", aString)}},
		{Name: "IdentifyFailed", PropertyTypes: properties{one("peerId", aPeer), one("reason", aString)}},
		{Name: "DialFailed", PropertyTypes: properties{one("multiaddr", aString), one("reason", aString)}},
		{Name: "ReachabilityChanged", PropertyTypes: properties{one("reachability", aString)}},
		{Name: "AddressesChanged", PropertyTypes: properties{many("addresses"), many("removed")}},
	}
}

// message tells the properties with the first event of its kind on a connection to the daemon.
func (e eventMessage) message(first bool) *pb.Event {
	t := &pb.EventType{Name: e.name}
	if first {
		all := eventTypes()
		t = all[slices.IndexFunc(all, func(t *pb.EventType) bool { return t.Name == e.name })]
	}
	content, err := json.Marshal(e.content) // makes UTF-8 of what is not
	if err != nil {
		panic(err)
	}
	return &pb.Event{Type: t, Ts: milliseconds(e.at), Content: string(content)}
}

// hello is what every connection to the daemon begins with.
func (p *publisher) hello() *pb.Runtime {
	r := &pb.Runtime{
		Implementation: "go-libp2p",
		Platform:       runtime.GOOS + "/" + runtime.GOARCH + " " + runtime.Version(),
		PeerId:         p.host.ID().String(),
		EventTypes:     eventTypes(),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/libp2p/go-libp2p" {
				r.Version = strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return r
}

// happened takes what the host's event bus tells.
func (p *publisher) happened(e any) {
	switch e := e.(type) {
	case event.EvtPeerConnectednessChanged:
		name := "PeerConnected"
		if e.Connectedness == network.NotConnected {
			name = "PeerDisconnected"
		}
		p.feed.offer(name, func() any { return object{"peerId": e.Peer} })
	case event.EvtPeerIdentificationCompleted:
		p.feed.offer("PeerIdentified", func() any {
			return object{
				"peerId": e.Peer, "connectionId": e.Conn.ID(), "agentVersion": e.AgentVersion,
				"protocolVersion": e.ProtocolVersion, "protocols": list(e.Protocols),
				"listenAddrs": list(e.ListenAddrs), "observedAddr": fmt.Sprint(e.ObservedAddr),
			}
		})
	case event.EvtPeerIdentificationFailed:
		p.feed.offer("IdentifyFailed", func() any { return object{"peerId": e.Peer, "reason": fmt.Sprint(e.Reason)} })
	case event.EvtLocalReachabilityChanged:
		p.states.reachabilityChanged(e.Reachability)
		p.feed.offer("ReachabilityChanged", func() any { return object{"reachability": strings.ToLower(e.Reachability.String())} })
	case event.EvtHostReachableAddrsChanged:
		p.states.addressesConfirmed(e)
	case event.EvtLocalAddressesUpdated:
		p.feed.offer("AddressesChanged", func() any {
			return object{"addresses": updated(e.Current), "removed": updated(e.Removed)}
		})
	}
}

func updated(addresses []event.UpdatedAddress) []string {
	all := make([]ma.Multiaddr, len(addresses))
	for i, a := range addresses {
		all[i] = a.Address
	}
	return list(all)
}

// list is never nil, which JSON would have as null.
func list[T any](all []T) []string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = fmt.Sprint(v)
	}
	return texts
}

func aboutConnection(c network.Conn) object {
	return object{
		"connectionId": c.ID(), "peerId": c.RemotePeer(), "multiaddr": c.RemoteMultiaddr().String(),
		"direction": strings.ToLower(c.Stat().Direction.String()),
	}
}

func aboutClosed(c network.Conn) object {
	about := aboutConnection(c)
	about["openedAt"] = c.Stat().Opened.UnixMilli()
	about["reason"] = closeReason(c)
	return about
}

// quicConn is nil if c does not go over QUIC.
func quicConn(c network.Conn) *quic.Conn {
	var q *quic.Conn
	if !c.As(&q) {
		return nil
	}
	return q
}

// closeReason is known of QUIC alone: go-libp2p keeps none for other transports.
func closeReason(c network.Conn) string {
	if q := quicConn(c); q != nil && q.Context().Err() != nil {
		return text(context.Cause(q.Context()).Error())
	}
	return ""
}

// text is what of s a protobuf string can hold: the peer chose it.
func text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

func milliseconds(t time.Time) uint64 { return uint64(max(0, t.UnixMilli())) }
