package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"weir/store"
)

// admit refuses a message that would be one too many to wait. One that is there
// already is none more: its producer, who has not heard of it, is to be told. It
// counts those that are about to be stored, until they leave, so that many at
// once do not pass the bound together.
func (s *Server) admit(ctx context.Context, w http.ResponseWriter, key string) (leave func(), err error) {
	most := s.cfg.MaxPending
	if most == 0 {
		return func() {}, nil
	}
	entering := int(s.entering.Add(1)) // before the count is read: then none is in neither
	leave = func() { s.entering.Add(-1) }
	st, err := s.readStatus(ctx)
	if err != nil {
		leave()
		return nil, err
	}
	load := loadOf(st)
	left := most - load.waiting - entering
	wait := load.wait(-left)
	header := w.Header()
	header.Set("X-RateLimit-Limit", strconv.Itoa(most))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(s.cfg.Now().Add(wait).Unix(), 10))
	if left >= 0 {
		return leave, nil
	}
	_, err = s.cfg.Store.Stored(ctx, key)
	if err == nil {
		return leave, nil
	}
	leave()
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return nil, refuse(http.StatusTooManyRequests, "rate_limit_exceeded",
		"%d messages wait, and WEIR_MAX_PENDING allows %d: hand this one over later, or raise it", load.waiting, most).again(wait)
}

// load is how much waits, and how fast it goes.
type load struct{ waiting, perMinute int }

func loadOf(st Status) (l load) {
	for _, b := range st.Buckets {
		l.waiting += b.Pending + b.Retrying
		l.perMinute += b.SentLastMinute
	}
	return l
}

// wait estimates when so many will have left, within a minute.
func (l load) wait(surplus int) time.Duration {
	if surplus <= 0 {
		return 0
	}
	if l.perMinute == 0 {
		return time.Minute
	}
	return min(time.Minute, time.Duration(surplus)*time.Minute/time.Duration(l.perMinute))
}
