package dispatcher

import "weir/limiter"

// Tuning is what of a Config can change while messages are sent. Its fields are
// those of Config; a Concurrency out of range is moved into it.
type Tuning struct {
	Concurrency int
	BulkReserve float64
}

// Reconfigure takes over other settings without a pause: requests under way
// finish as they are, and what has been learnt of limits stays. The API keys are
// read again, and whatever the API holds back is probed at once, since an
// operator has changed something.
func (d *Dispatcher) Reconfigure(t Tuning) {
	for _, a := range d.accounts {
		d.readKey(a)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers = min(max(t.Concurrency, 1), MaxConcurrency)
	d.seats = 2 * d.workers
	for _, p := range d.pools {
		p.limiter.Reconfigure(limiter.Config{MaxInFlight: d.seats, Reserve: t.BulkReserve})
	}
	for _, g := range d.gates.all() {
		if g.Kind == Held && !g.AtHome() {
			d.probeNow(g)
		}
	}
	if !d.stopping {
		d.begin()
	}
	d.poke()
}

// probeNow lets a gate be probed without its wait. It requires that d.mu is held.
func (d *Dispatcher) probeNow(g *gate) {
	g.Until, g.interval = d.cfg.Now(), d.cfg.ProbeInterval
	d.gates.unsaved[g.id()] = true
}
