package introspect

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"google.golang.org/protobuf/encoding/protodelim"

	pb "introspectd/publishers/go-libp2p/introspection"
)

const patience = 4 * time.Minute

// daemon is the daemon's end of the feed: it reads what is published and asks for more.
type daemon struct {
	t        *testing.T
	listener net.Listener
	conn     net.Conn
	in       *bufio.Reader
}

// listen waits for a publisher at a new path.
func listen(t *testing.T) *daemon {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "feed.sock"))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, listener: l}
	t.Cleanup(func() {
		l.Close()
		if d.conn != nil {
			d.conn.Close()
		}
	})
	return d
}

func (d *daemon) path() string { return d.listener.Addr().String() }

func (d *daemon) accept() *pb.Runtime {
	d.t.Helper()
	conn, err := d.listener.Accept()
	if err != nil {
		d.t.Fatal(err)
	}
	d.conn, d.in = conn, bufio.NewReader(conn)
	return d.next().GetRuntime()
}

func (d *daemon) next() *pb.ServerMessage {
	d.t.Helper()
	d.conn.SetReadDeadline(time.Now().Add(patience))
	m := new(pb.ServerMessage)
	if err := protodelim.UnmarshalFrom(d.in, m); err != nil {
		d.t.Fatal(err)
	}
	return m
}

// ask returns a new state, passing over events.
func (d *daemon) ask() *pb.State {
	d.t.Helper()
	if _, err := d.conn.Write([]byte("r")); err != nil {
		d.t.Fatal(err)
	}
	for {
		if s := d.next().GetState(); s != nil {
			return s
		}
	}
}

// askUntil asks until the state is as expected.
func (d *daemon) askUntil(expected func(*pb.State) bool) *pb.State {
	d.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s := d.ask()
		if expected(s) {
			return s
		}
		if time.Now().After(end) {
			d.t.Fatalf("still not as expected: %v", s)
		}
	}
}

// event passes over others until there is one of that type.
func (d *daemon) event(name string) (*pb.Event, object) {
	d.t.Helper()
	for {
		if e := d.next().GetEvent(); e.GetType().GetName() == name {
			var content object
			if err := json.Unmarshal([]byte(e.Content), &content); err != nil {
				d.t.Fatal(err)
			}
			return e, content
		}
	}
}

// watch publishes h until the test ends.
func watch(t *testing.T, h host.Host, options Options) *daemon {
	t.Helper()
	d := listen(t)
	options.Path = d.path()
	if err := Publish(t.Context(), h, options); err != nil {
		t.Fatal(err)
	}
	d.accept()
	return d
}

func newHost(t *testing.T, options ...libp2p.Option) host.Host {
	t.Helper()
	return newHostAt(t, "/ip4/127.0.0.1/tcp/0", options...)
}

func newHostAt(t *testing.T, address string, options ...libp2p.Option) host.Host {
	t.Helper()
	// over loopback a dial has 5 s, which a busy machine may take
	h, err := libp2p.New(append([]libp2p.Option{libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(patience))},
		append(options, libp2p.WithDialTimeout(patience), libp2p.ListenAddrStrings(address), libp2p.DisableMetrics())...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

const echo = "/echo/1.0.0"

func handleEcho(h host.Host) {
	h.SetStreamHandler(echo, func(s network.Stream) {
		buf := make([]byte, 32*1024)
		for {
			n, err := s.Read(buf)
			if _, werr := s.Write(buf[:n]); err != nil || werr != nil {
				s.Close()
				return
			}
		}
	})
}

func connect(t *testing.T, from, to host.Host) network.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := from.Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		t.Fatal(err)
	}
	return from.Network().ConnsToPeer(to.ID())[0]
}

// exchange sends n bytes, and reads them back; the stream stays open.
func exchange(t *testing.T, from, to host.Host, n int) network.Stream {
	t.Helper()
	s, err := from.NewStream(t.Context(), to.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	again(t, s, n)
	return s
}

func again(t *testing.T, s network.Stream, n int) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, n))
		sent <- err
	}()
	buf := make([]byte, 32*1024)
	for got := 0; got < n; {
		read, err := s.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += read
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
