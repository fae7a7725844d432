package queue_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/queue"
)

// network carries connections to a server. While it is silent it neither carries
// anything nor ends anything, as one that drops every packet.
type network struct {
	silent sync.RWMutex
	made   atomic.Int64 // connections
	newest atomic.Pointer[line]
}

// line is a connection that was made.
type line struct {
	net.Conn
	ended chan struct{} // closed when the client has closed it
}

// through gives an address that leads to the server at url over the network.
func (n *network) through(t *testing.T, url string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var carriers sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		carriers.Wait()
	})
	carriers.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			n.made.Add(1)
			newest := &line{near, make(chan struct{})}
			n.newest.Store(newest)
			carriers.Go(func() {
				defer close(newest.ended)
				n.carry(near, far)
			})
			carriers.Go(func() { n.carry(far, near) })
		}
	})
	return "nats://" + listener.Addr().String()
}

func (n *network) carry(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		n.silent.RLock()
		_, err = to.Write(buffer[:count])
		n.silent.RUnlock()
		if err != nil {
			return
		}
	}
}

func TestASilentNetworkIsSaidBeforeItsConnectionIsGivenUp(t *testing.T) {
	var n network
	q := open(t, queue.Config{URL: n.through(t, external(t)), Now: time.Now})
	run(t, q, newLedger())
	awaitTrouble := func(there bool) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(patience); (q.Trouble() != "") != there; {
			if now := <-tick.C; now.After(end) {
				t.Fatalf("waited in vain until there is trouble: %v", there)
			}
		}
	}
	awaitTrouble(false)
	n.silent.Lock()
	awaitTrouble(true)
	n.silent.Unlock()
	awaitTrouble(false)
	if made := n.made.Load(); made != 1 {
		t.Errorf("%d connections were made: it is said only once the first has been given up", made)
	}
}

// complain makes the client library close the newest connection for good, as it
// does on whatever it does not know.
func (n *network) complain(t *testing.T) {
	t.Helper()
	newest := n.newest.Load()
	if _, err := newest.Write([]byte("-ERR 'No Such Thing'\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-newest.ended:
	case <-time.After(patience):
		t.Fatal("the connection is not closed")
	}
}

func TestTheIntakeEndsWithAConnectionThatIsNotMadeAgain(t *testing.T) {
	var n network
	url := external(t)
	q := open(t, queue.Config{URL: n.through(t, url), Now: time.Now})
	ended := make(chan error, 1)
	go func() { ended <- q.RunIntake(t.Context(), newLedger()) }()
	next(t, q.Listening())
	n.complain(t)
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "No Such Thing") || !strings.Contains(err.Error(), "start weir again") {
			t.Errorf("it ends with %v", err)
		}
		if trouble := q.Trouble(); !strings.Contains(trouble, "weir ends") {
			t.Errorf("meanwhile it says %q", trouble)
		}
	case <-time.After(patience):
		t.Fatal("it goes on without a connection")
	}
}

func TestAPublisherGoesOnOverAnotherConnectionWhenItsOwnIsClosedForGood(t *testing.T) {
	var n network
	q := open(t, embedded(t.TempDir()))
	p, err := queue.Connect(deadline(t), queue.PublisherConfig{URL: n.through(t, "nats://"+q.Addr())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	n.complain(t)
	payload := [][]byte{[]byte(`{"idempotency_key":"k"}`)}
	for range 2 {
		if _, err := p.Publish(deadline(t), payload); err != nil || n.made.Load() != 2 {
			t.Errorf("over connection %d: %v", n.made.Load(), err)
		}
	}
	_ = p.Close()
	if _, err := p.Publish(deadline(t), payload); err == nil || n.made.Load() != 2 {
		t.Errorf("over connection %d, after it was closed: %v", n.made.Load(), err)
	}
}
