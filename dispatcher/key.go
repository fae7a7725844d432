package dispatcher

import "weir/outbox"

// keyGate names the gate that holds the account while the API refuses its key.
func (a *account) keyGate() gateID {
	return gateID{outbox.AccountScope(a.cfg.Name), Held, ByUnauthorized}
}

// readRefusedKey looks for another key where the API refuses the one at hand.
func (d *Dispatcher) readRefusedKey(a *account) {
	d.mu.Lock()
	refused := d.gates.find(a.keyGate()) != nil
	d.mu.Unlock()
	if refused {
		d.readKey(a)
	}
}

// readKey takes a key that has changed, and then lets the hold be probed at once.
func (d *Dispatcher) readKey(a *account) {
	key, err := a.cfg.Key()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || key == a.key {
		return
	}
	a.key = key
	d.cfg.Log.Info("the API key has changed", "account", a.cfg.Name)
	for _, other := range d.accounts {
		if other != a && other.key == key && other.cfg.BaseURL == a.cfg.BaseURL {
			d.cfg.Log.Warn("two accounts have one URL and key: each uses the limit as if it were alone; give one of them another key",
				"account", a.cfg.Name, "other", other.cfg.Name)
		}
	}
	if g := d.gates.find(a.keyGate()); g != nil {
		d.probeNow(g)
	}
	d.poke()
}
