package dispatcher

import (
	"context"
	"errors"
	"net"
	"time"
)

var errSlept = errors.New("the machine was suspended, or its clock set forward, while it connected")

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// awake lets a connection fail that outlasted a suspend of the machine: what was
// looked at right before the request may be long ago. It counts as a failure to
// dial; the next request shows that there is none.
func (c *Clock) awake(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		began, latest := time.Now(), c.Latest()
		conn, err := dial(ctx, network, address)
		if err == nil && c.Latest().Sub(latest)-time.Since(began) > longestSlip {
			_ = conn.Close() // nothing was written to it
			return nil, &net.OpError{Op: "dial", Net: network, Err: errSlept}
		}
		return conn, err
	}
}
