package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampleEvery is how often the daemon is measured.
const sampleEvery = time.Second

// sample is one look at the daemon. The names are those of the verdict.
type sample struct {
	memory, heap, wal       int64 // bytes
	goroutines, descriptors int64
	life                    int // of which daemon
}

// samples are all looks, in their order.
type samples struct {
	mu       sync.Mutex
	all      []sample
	restarts int // so far
}

func (s *samples) restarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts++
}

func (s *samples) add(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.life = s.restarts
	s.all = append(s.all, one)
}

// measure looks at the daemon until ctx ends.
func (s *soak) measure(ctx context.Context) error {
	for pause(ctx, sampleEvery) {
		pid, gauges, err := s.daemon.alive()
		if err != nil {
			return err
		}
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		memory, err := residentBytes(proc)
		if pid == 0 || err != nil {
			continue // between two daemons
		}
		open, err := os.ReadDir(filepath.Join(proc, "fd"))
		if err != nil {
			continue // likewise
		}
		one := sample{memory: memory, heap: int64(gauges.Heap), goroutines: int64(gauges.Goroutines), descriptors: int64(len(open))}
		if wal, err := os.Stat(filepath.Join(s.dataDir(), "weir.db-wal")); err == nil {
			one.wal = wal.Size()
		}
		s.samples.add(one)
	}
	return nil
}

// residentBytes is the memory that a process has.
func residentBytes(proc string) (int64, error) {
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(status), "VmRSS:")
	if !found {
		return 0, fmt.Errorf("soak: %s has no memory", proc)
	}
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10, err
}

// last are the looks at the last daemon: one before it took to its end what it
// had leaked.
func (s *samples) last() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	begin := slices.IndexFunc(s.all, func(one sample) bool { return one.life == s.restarts })
	return s.all[max(begin, 0):]
}

// growth compares a figure's upper tenth in the second quarter of what the last
// daemon lived, when all is warm, with that in the last quarter.
func growth(last []sample, of func(sample) int64) (early, late int64) {
	upper := func(part []sample) int64 {
		if len(part) == 0 {
			return 0
		}
		values := make([]int64, len(part))
		for i, one := range part {
			values[i] = of(one)
		}
		slices.Sort(values)
		return values[len(values)*9/10]
	}
	quarter := len(last) / 4
	return upper(last[quarter : 2*quarter]), upper(last[3*quarter:])
}

// most is the highest that a figure has ever been.
func (s *samples) most(of func(sample) int64) (most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		most = max(most, of(one))
	}
	return most
}
