// Package sim simulates an API that limits how fast it may be called.
//
// It has two parts. The limits (Window, Log, Counter, Bucket) are plain counters
// over times that are handed in: the sandbox drives them with real requests,
// Run in virtual time, so both meet the same server. A refused request consumes
// nothing. Run plays a Scenario, which is a server, the way to it, and what is
// to be sent, against a Policy, which decides when to send; a limiter.Limiter
// is one, and Contenders are what it is compared with.
//
// The same Scenario and a fresh Policy give the same Result each time. Nothing
// here reads a clock, locks or starts anything.
package sim
