package introspect

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sys/unix"

	pb "introspectd/publishers/go-libp2p/introspection"
)

func TestRuntime(t *testing.T) {
	node, d := newHost(t), listen(t)
	if err := Publish(t.Context(), node, Options{Path: d.path()}); err != nil {
		t.Fatal(err)
	}
	r := d.accept()
	equal(t, "implementation", r.Implementation, "go-libp2p")
	equal(t, "peer", r.PeerId, node.ID().String())
	if len(r.EventTypes) != len(eventTypes()) || !strings.Contains(r.Platform, "go1.") {
		t.Errorf("%v", r)
	}
	if err := Publish(t.Context(), node, Options{}); err == nil || !strings.Contains(err.Error(), "Options.Path") {
		t.Errorf("without a path: %v", err)
	}
}

func TestEvents(t *testing.T) {
	tracer := NewTracer(nil)
	node, other := newHost(t, libp2p.SwarmOpts(tracer.Swarm())), newHost(t, libp2p.UserAgent("other/1"))
	handleEcho(other)
	d := watch(t, node, Options{Tracer: tracer})

	c := connect(t, node, other)
	e, opened := d.event("ConnectionOpened")
	equal(t, "id", opened["connectionId"].(string), c.ID())
	equal(t, "direction", opened["direction"].(string), "outbound")
	equal(t, "properties the first time", len(e.Type.PropertyTypes), 4)
	_, identified := d.event("PeerIdentified")
	equal(t, "agent", identified["agentVersion"].(string), "other/1")
	equal(t, "peer", identified["peerId"].(string), other.ID().String())
	if protocols := identified["protocols"].([]any); !contains(protocols, echo) {
		t.Errorf("protocols: %v", protocols)
	}
	other.Close()
	e, closed := d.event("ConnectionClosed")
	equal(t, "closed", closed["connectionId"].(string), c.ID())
	equal(t, "its properties", len(closed), len(e.Type.PropertyTypes))

	// nobody listens there any more
	if err := node.Connect(t.Context(), peer.AddrInfo{ID: other.ID(), Addrs: []ma.Multiaddr{c.RemoteMultiaddr()}}); err == nil {
		t.Fatal("connected to nobody")
	}
	_, failed := d.event("DialFailed")
	if !strings.Contains(failed["reason"].(string), "refused") || !strings.HasPrefix(failed["multiaddr"].(string), c.RemoteMultiaddr().String()) {
		t.Errorf("failed: %v", failed)
	}

	connect(t, node, newHost(t))
	if e, _ := d.event("ConnectionOpened"); len(e.Type.PropertyTypes) != 0 {
		t.Error("properties were told twice")
	}
}

func TestEventsOfTheBus(t *testing.T) {
	node, other := newHost(t), newHost(t)
	d := watch(t, node, Options{})
	address := ma.StringCast("/ip4/8.8.8.8/tcp/4001")
	emit(t, node, event.EvtLocalAddressesUpdated{Current: []event.UpdatedAddress{{Address: address}}})
	for { // the host tells of its own as well
		if _, changed := d.event("AddressesChanged"); contains(changed["addresses"].([]any), address.String()) {
			break
		}
	}
	emit(t, node, event.EvtPeerIdentificationFailed{Peer: other.ID(), Reason: errors.New("no identify")})
	_, failed := d.event("IdentifyFailed")
	equal(t, "peer", failed["peerId"].(string), other.ID().String())
	equal(t, "reason", failed["reason"].(string), "no identify")
	connect(t, node, other)
	_, connected := d.event("PeerConnected")
	equal(t, "peer", connected["peerId"].(string), other.ID().String())
	node.Network().ClosePeer(other.ID())
	_, gone := d.event("PeerDisconnected")
	equal(t, "peer", gone["peerId"].(string), other.ID().String())
}

func TestCloseReason(t *testing.T) {
	const quic = "/ip4/127.0.0.1/udp/0/quic-v1"
	node, other := newHostAt(t, quic), newHostAt(t, quic)
	d := watch(t, node, Options{})
	connect(t, node, other)
	d.event("ConnectionOpened")
	d.ask()
	for _, c := range other.Network().ConnsToPeer(node.ID()) {
		c.CloseWithError(network.ConnRateLimited)
	}
	_, closed := d.event("ConnectionClosed")
	if !strings.Contains(closed["reason"].(string), "0x1002") {
		t.Errorf("closed: %v", closed)
	}
	equal(t, "reason in the state", find(d.ask(), other.ID()).CloseReason, closed["reason"].(string))
}

func contains(all []any, one string) bool {
	for _, v := range all {
		if v == one {
			return true
		}
	}
	return false
}

// The daemon neither reads nor goes away; the host must not notice.
func TestDaemonThatDoesNotRead(t *testing.T) {
	node, other := newHost(t), newHost(t)
	d := watch(t, node, Options{})
	for range 100 {
		c := connect(t, node, other)
		if r := <-ping.Ping(t.Context(), node, other.ID()); r.Error != nil {
			t.Fatal(r.Error)
		}
		d.conn.Write(bytes.Repeat([]byte("r"), 1000))
		c.Close()
	}
	// what had waited is bounded, and the next answer comes after it
	asked := time.Now()
	d.askUntil(func(s *pb.State) bool { return s.InstantTs >= uint64(asked.UnixMilli()) })
}

func TestDaemonThatSendsNoise(t *testing.T) {
	node := newHost(t)
	d := watch(t, node, Options{})
	noise := make([]byte, mebibyte)
	rand.Read(noise)
	go d.conn.Write(noise)
	for range 10 {
		d.ask()
	}
}

// brokenHost panics while the network's connections are asked for.
type brokenHost struct{ host.Host }

func (h brokenHost) Network() network.Network { return brokenNetwork{h.Host.Network()} }

type brokenNetwork struct{ network.Network }

func (brokenNetwork) Conns() []network.Conn { panic("broken") }

func TestPanicEndsTheConnectionAlone(t *testing.T) {
	d := watch(t, brokenHost{newHost(t)}, Options{})
	for range 3 {
		d.conn.Write([]byte("r"))
		equal(t, "implementation", d.accept().Implementation, "go-libp2p")
	}
}

func TestEndOfContext(t *testing.T) {
	node, other, d := newHost(t), newHost(t), listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	if err := Publish(ctx, node, Options{Path: d.path()}); err != nil {
		t.Fatal(err)
	}
	d.accept()
	cancel()
	if _, err := io.Copy(io.Discard, d.in); err != nil { // after events of before
		t.Errorf("the connection did not end: %v", err)
	}
	d.listener.(*net.UnixListener).SetDeadline(time.Now().Add(500 * time.Millisecond)) // several first retries
	if _, err := d.listener.Accept(); err == nil {
		t.Error("it connected again")
	}
	connect(t, node, other)
}

func TestGeneratedCodeIsUpToDate(t *testing.T) {
	if _, err := exec.LookPath("protoc"); err != nil {
		t.Skip("no protoc")
	}
	folder := t.TempDir()
	if out, err := exec.Command("sh", "generate.sh", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	versions := regexp.MustCompile(`(?m)^// \t(protoc|protoc-gen-go) .*$`)
	read := func(path string) string {
		code, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return versions.ReplaceAllString(string(code), "")
	}
	if read(folder+"/introspection.pb.go") != read("introspection/introspection.pb.go") {
		t.Error("introspection/introspection.pb.go is not what introspection.proto says: run go generate")
	}
}

// What a state of a thousand peers costs, made and encoded.
func BenchmarkState(b *testing.B) {
	bandwidth := metrics.NewBandwidthCounter()
	node := benchHost(b, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.BandwidthReporter(bandwidth))
	for range 1000 {
		other := benchHost(b, libp2p.NoListenAddrs)
		if err := other.Connect(b.Context(), peer.AddrInfo{ID: node.ID(), Addrs: node.Addrs()}); err != nil {
			b.Fatal(err)
		}
	}
	s, out := newStates(node, Options{Bandwidth: bandwidth}), bufio.NewWriter(io.Discard)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime(b)
	b.ReportAllocs()
	for b.Loop() {
		state := s.make()
		if n := len(state.Subsystems.Connections); n != 1000 {
			b.Fatalf("%d connections", n)
		}
		if err := send(out, &pb.ServerMessage{Payload: &pb.ServerMessage_State{State: state}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(threadTime(b)-began)/1e6/float64(b.N), "CPU-ms/op") // the other nodes work, too
}

func threadTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Without a daemon, what happens in the node costs it nothing.
func TestNobodyWatches(t *testing.T) {
	node, other := newHost(t), newHost(t)
	c := connect(t, node, other)
	p := newPublisher(node, Options{Path: "/nonexistent"})
	for name, happen := range map[string]func(){
		"connected":    func() { p.connected(node.Network(), c) },
		"disconnected": func() { p.disconnected(node.Network(), c) },
		"event":        func() { p.happened(event.EvtPeerIdentificationCompleted{Peer: other.ID(), Conn: c}) },
	} {
		allocations := testing.AllocsPerRun(100, happen)
		for tries := 0; allocations > 0 && tries < 10; tries++ { // those of all goroutines are counted
			allocations = testing.AllocsPerRun(100, happen)
		}
		equal(t, "allocations when "+name, allocations, 0)
	}
}

func benchHost(b *testing.B, options ...libp2p.Option) host.Host {
	h, err := libp2p.New(append(options, libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(), libp2p.DisableRelay())...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	return h
}
