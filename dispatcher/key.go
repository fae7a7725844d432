package dispatcher

import (
	"strings"

	"weir/outbox"
)

// keyUnread leads from the reason of a refused key to why no other can be read.
const keyUnread = "; the key cannot be read again: "

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
	d.noteUnread(a, err)
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

// noteUnread says when a key can no longer be read, and when it can again: the one
// at hand stays, but another would not be noticed. It needs d.mu.
func (d *Dispatcher) noteUnread(a *account, err error) {
	unread := ""
	if err != nil {
		unread = keyUnread + err.Error()
	}
	switch {
	case unread == a.unread:
	case err != nil:
		d.cfg.Log.Warn("the API key cannot be read again; the one at hand stays", "account", a.cfg.Name, "error", err)
	default:
		d.cfg.Log.Info("the API key can be read again", "account", a.cfg.Name)
	}
	a.unread = unread
	if g := d.gates.find(a.keyGate()); g != nil {
		reason, _, _ := strings.Cut(g.Reason, keyUnread)
		if reason += unread; reason != g.Reason {
			g.Reason = reason
			d.gates.unsaved[g.id()] = true
		}
	}
}
