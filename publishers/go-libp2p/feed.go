package introspect

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	pb "introspectd/publishers/go-libp2p/introspection"
)

const (
	retryFirst   = 100 * time.Millisecond // doubled with every failure
	retryLongest = 5 * time.Second
	maxEvents    = 256 // that wait for the daemon to read; those beyond are not sent
)

// eventMessage is an event that waits to be sent; content is what its JSON is made of.
type eventMessage struct {
	name    string
	at      time.Time
	content any
}

// feed is the connection to the daemon's Unix socket. All that can block happens in its own
// goroutines; the host's only put events into its channel while there is room.
type feed struct {
	path      string
	log       *slog.Logger
	hello     func() *pb.Runtime
	state     func() *pb.State
	events    chan eventMessage
	connected atomic.Bool
}

// offer sends an event if a daemon is connected and not too many wait; else content is not called.
// It never blocks.
func (f *feed) offer(name string, content func() any) {
	if !f.connected.Load() || len(f.events) == cap(f.events) {
		return
	}
	f.safely(name, func() {
		select {
		case f.events <- eventMessage{name, time.Now(), content()}:
		default:
		}
	})
}

// safely keeps a panic in action from the host.
func (f *feed) safely(what string, action func()) {
	defer func() {
		if r := recover(); r != nil {
			f.log.Error("panic", "in", what, "reason", r)
		}
	}()
	action()
}

// run connects, and connects again, until ctx is done.
func (f *feed) run(ctx context.Context) {
	for delay := retryFirst; ctx.Err() == nil; delay = min(2*delay, retryLongest) {
		took := false
		f.safely("feed", func() {
			var err error
			took, err = f.serve(ctx)
			f.log.Debug("not connected", "path", f.path, "reason", err)
		})
		if took {
			delay = retryFirst
		}
		select {
		case <-time.After(time.Duration((0.5 + rand.Float64()/2) * float64(delay))):
		case <-ctx.Done():
		}
	}
}

// serve is one connection, from its beginning to its end. took: the daemon asked again after it
// was answered, the sign that it takes what it gets.
func (f *feed) serve(ctx context.Context) (took bool, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", f.path)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	f.drain()
	f.connected.Store(true)
	defer f.connected.Store(false)
	out := bufio.NewWriterSize(conn, 64*1024)
	if err := send(out, &pb.ServerMessage{Payload: &pb.ServerMessage_Runtime{Runtime: f.hello()}}); err != nil {
		return false, err
	}
	ready, end := make(chan struct{}, 1), make(chan error, 1)
	go readRequests(conn, ready, end)

	announced := map[string]bool{}
	for answers := 0; ; {
		select {
		case err := <-end:
			return took, err
		case <-ready:
			took = answers > 0
			answers++
			err = send(out, &pb.ServerMessage{Payload: &pb.ServerMessage_State{State: f.state()}})
		case e := <-f.events:
			err = send(out, &pb.ServerMessage{Payload: &pb.ServerMessage_Event{Event: e.message(!announced[e.name])}})
			announced[e.name] = true
		}
		if err != nil {
			return took, err
		}
	}
}

// drain lets go of events that a former connection did not take.
func (f *feed) drain() {
	for len(f.events) > 0 {
		<-f.events
	}
}

// readRequests ends when conn does. Any number of requests before the answer are one.
func readRequests(conn net.Conn, ready chan<- struct{}, end chan<- error) {
	var buf [4096]byte
	for {
		n, err := conn.Read(buf[:])
		if bytes.IndexByte(buf[:n], 'r') >= 0 {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
		if err != nil {
			end <- fmt.Errorf("the daemon ended the connection: %w", err)
			return
		}
	}
}

func send(out *bufio.Writer, m *pb.ServerMessage) error {
	m.Version = &pb.Version{Version: 1}
	if _, err := protodelim.MarshalTo(out, m); err != nil {
		return err
	}
	return out.Flush()
}
