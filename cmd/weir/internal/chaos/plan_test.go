//go:build chaos

package chaos

import (
	"reflect"
	"testing"
)

func TestASeedAlwaysDealsTheSameKills(t *testing.T) {
	if !reflect.DeepEqual(plans(7, 100), plans(7, 100)) {
		t.Error("two deals of one seed differ")
	}
	if reflect.DeepEqual(plans(7, 100), plans(8, 100)) {
		t.Error("another seed deals the same")
	}
}

func TestFortyKillsGoToEveryPlaceWhateverTheSeed(t *testing.T) {
	for seed := range uint64(50) {
		dealt := map[string]bool{}
		kills := 0
		for _, p := range plans(seed, 40) {
			for _, s := range p.strikes {
				dealt[s.name] = true
				kills++
			}
		}
		if kills != 40 {
			t.Errorf("seed %d deals %d kills", seed, kills)
		}
		for _, place := range Places() {
			if !dealt[place] {
				t.Errorf("seed %d deals none to: %s", seed, place)
			}
		}
	}
}
