package dispatcher

// Observe is told of a claim right before its request is made. It returns the
// traceparent that the request carries, empty for none, and what is called with
// the attempt once it has been judged, before it is recorded. Workers call both:
// they must be fast, must not block and must not change what they are given.
type Observe func(c *Claim) (traceparent string, judged func(*Record))

// unobserved passes on the producer's traceparent.
func unobserved(c *Claim) (string, func(*Record)) {
	return c.Traceparent, func(*Record) {}
}
