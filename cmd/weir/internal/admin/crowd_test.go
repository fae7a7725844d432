package admin

import (
	"io"
	"net"
	"testing"
)

func TestNoMoreConnectionsAreOpenThanThereIsRoomFor(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitCrowd(inner, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	dial()
	if len(l.room) != cap(l.room) {
		t.Fatal("there is room for a third")
	}
	first.Close()
	first.Close() // makes room once only
	third := <-accepted
	if _, err := third.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	dial()
	l.Close()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("a crowded listener that is closed: %v", err)
	}
	_, _ = io.WriteString(third, "still open")
}
