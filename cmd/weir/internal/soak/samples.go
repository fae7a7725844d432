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
		open, _ := os.ReadDir(filepath.Join(proc, "fd"))
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

// growth compares a figure's upper tenth in the second quarter of the run, when
// all is warm, with that in the last quarter.
func (s *samples) growth(of func(sample) int64) (early, late, most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	quarter := len(s.all) / 4
	for _, one := range s.all {
		most = max(most, of(one))
	}
	return upper(s.all[quarter : 2*quarter]), upper(s.all[3*quarter:]), most
}
