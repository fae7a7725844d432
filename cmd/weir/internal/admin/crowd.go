package admin

import (
	"net"
	"sync"
)

// maxConnections bounds the HTTP connections that are open at once; more wait
// in the kernel's queue.
const maxConnections = 256

// crowdLimit accepts a connection only while there is room.
type crowdLimit struct {
	net.Listener
	room  chan struct{}
	shut  chan struct{}
	close func() error
}

func limitCrowd(l net.Listener, most int) *crowdLimit {
	c := &crowdLimit{Listener: l, room: make(chan struct{}, most), shut: make(chan struct{})}
	c.close = sync.OnceValue(func() error {
		close(c.shut)
		return l.Close()
	})
	return c
}

// Accept implements net.Listener.
func (l *crowdLimit) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.shut:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &crowded{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

// Close implements net.Listener.
func (l *crowdLimit) Close() error { return l.close() }

// crowded is a connection that makes room for another once it is closed.
type crowded struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *crowded) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
