package outbox

// ParseObject reads one JSON object as strictly as an envelope: no duplicate
// names, invalid UTF-8 or lone surrogates at any depth, nothing after it. It
// calls field for each member, with the name, and the value's bytes in data. The
// error is an *InvalidError, in which what names the object itself.
func ParseObject(data []byte, what string, field func(name string, value []byte)) error {
	var bad InvalidError
	if _, f := scan(nil, data, maxDepth, func(name, value []byte) { field(string(name), value) }); f != nil {
		if f.path == "" {
			f.path = what
		}
		bad.add(f.path, f.reason)
	}
	return bad.err()
}
