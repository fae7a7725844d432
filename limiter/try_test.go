package limiter_test

import (
	"fmt"
	"testing"
	"time"
	"weir/limiter/sim"
)

func TestTry(t *testing.T) {
	s := time.Second
	for name, mk := range map[string]func() scenario{
		"01 clock 100/2 ceil": func() scenario { return scenario{limit: 100, window: 2 * s, rounding: sim.Ceil, length: 24 * s} },
		"02 clock 200/2 ": func() scenario {
			return scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, length: 24 * s, warm: 8 * s}
		},
		"03 clock 200/2 +4.7": func() scenario {
			return scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, length: 24 * s, warm: 8 * s, skew: 4700 * time.Millisecond}
		},
		"04 clock 200/2 -3.3 floor": func() scenario {
			return scenario{limit: 200, window: 2 * s, skew: -3300 * time.Millisecond, length: 24 * s, warm: 8 * s}
		},
		"05 first 300/3 floor": func() scenario {
			return scenario{limit: 300, window: 3 * s, server: sim.NewWindow(300, 3*s, false), length: 36 * s, warm: 9 * s}
		},
		"05 first 300/3 ceil": func() scenario {
			return scenario{limit: 300, window: 3 * s, server: sim.NewWindow(300, 3*s, false), rounding: sim.Ceil, length: 36 * s, warm: 9 * s}
		},
		"06 rival": func() scenario {
			return scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, length: 24 * s, warm: 8 * s, rival: 40}
		},
		"07 x4": func() scenario {
			return scenario{limit: 100, window: 2 * s, rounding: sim.Ceil, length: 24 * s, warm: 8 * s, change: 16 * s, changeTo: 400}
		},
		"08 only429": func() scenario {
			return scenario{limit: 200, window: 2 * s, rounding: sim.Ceil, length: 24 * s, warm: 8 * s, headers: only429}
		},
		"08 only429 first": func() scenario {
			return scenario{limit: 200, window: 2 * s, server: sim.NewWindow(200, 2*s, false), length: 24 * s, warm: 8 * s, headers: only429}
		},
		"09 none": func() scenario {
			return scenario{limit: 200, window: 2 * s, length: 24 * s, warm: 0 * s, headers: noHeaders}
		},
		"10 retry": func() scenario {
			return scenario{limit: 200, window: 2 * s, length: 24 * s, warm: 0 * s, headers: onlyRetry}
		},
		"11 log": func() scenario {
			return scenario{limit: 200, window: 2 * s, server: sim.NewLog(200, 2*s), length: 24 * s, warm: 8 * s}
		},
		"12 gcra": func() scenario {
			return scenario{limit: 200, window: 2 * s, server: sim.NewBucket(200, 2*s), length: 24 * s, warm: 8 * s}
		},
		"13 W1 L100": func() scenario { return scenario{limit: 100, window: s, length: 24 * s, warm: 8 * s} },
		"13 W1 L100 first": func() scenario {
			return scenario{limit: 100, window: s, server: sim.NewWindow(100, s, false), length: 24 * s, warm: 8 * s}
		},
		"13 W1 L100 first later": func() scenario{return scenario{limit:100,window:s,server:sim.NewWindow(100,s,false),length:60*s,warm:100*s}},
"14 W60": func() scenario { return scenario{limit: 1000, window: 60 * s, length: 600 * s, warm: 120 * s} },
		"14 W60 first": func() scenario {
			return scenario{limit: 1000, window: 60 * s, server: sim.NewWindow(1000, 60*s, false), length: 600 * s, warm: 120 * s}
		},
		"15 missing 30 W60": func() scenario {
			return scenario{limit: 1000, window: 60 * s, length: 600 * s, warm: 120 * s, missing: .3}
		},
		"16 N1": func() scenario {
			return scenario{limit: 1000, window: 60 * s, length: 600 * s, warm: 120 * s, atOnce: 1}
		},
		"17 nodate": func() scenario {
			return scenario{limit: 200, window: 2 * s, length: 24 * s, warm: 8 * s, noDate: true, skew: -4 * s}
		},
		"18 L1W1":   func() scenario { return scenario{limit: 1, window: 1 * s, length: 60 * s, warm: 8 * s} },
		"19 before": func() scenario { return scenario{limit: 100, window: 2 * s, length: 60 * s, warm: 8 * s, before: true} },
		"20 lost":   func() scenario { return scenario{limit: 100, window: 2 * s, length: 60 * s, warm: 8 * s, lost: .02} },
		"21 down": func() scenario {
			return scenario{limit: 400, window: 2 * s, length: 60 * s, warm: 8 * s, change: 20300 * time.Millisecond, changeTo: 100}
		},
		"22 log60": func() scenario {
			return scenario{limit: 1000, window: 60 * s, server: sim.NewLog(1000, 60*s), length: 600 * s, warm: 120 * s}
		},
		"23 gcra60": func() scenario {
			return scenario{limit: 1000, window: 60 * s, server: sim.NewBucket(1000, 60*s), length: 600 * s, warm: 120 * s}
		},
		"24 log1": func() scenario {
			return scenario{limit: 100, window: s, server: sim.NewLog(100, s), length: 60 * s, warm: 10 * s}
		},
		"25 gcra1": func() scenario {
			return scenario{limit: 100, window: s, server: sim.NewBucket(100, s), length: 60 * s, warm: 10 * s}
		},
		"26 none60": func() scenario {
			return scenario{limit: 1000, window: 60 * s, length: 600 * s, warm: 120 * s, headers: noHeaders}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(0); seed < 4; seed++ {
				sc := mk()
				sc.seed = seed
				r := sc.run(t)
				t600 := time.Duration(0)
				if len(r.times) >= 600 {
					t600 = r.times[599]
				}
				_ = name
				fmt.Printf("%-28s use %.4f accepted %d refused %d late %d t600 %v\n", name, r.use, r.accepted, r.refused, r.late, t600)
			}
		})
	}
}
