package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"weir/outbox"
)

const (
	// A batch is one commit: large enough to pay for its fsync, small enough
	// that a running daemon never waits much longer than 10 ms for its turn.
	batchLines = 500
	batchBytes = 1 << 20
	// readAhead holds several batches of usual lines, and more than the longest
	// line that can be an envelope.
	readAhead = 1 << 20
)

// submission is one send request as it was handed over.
type submission struct {
	line    int // of its file; 0: it came from the command line
	message outbox.Message
	err     error // why it cannot be taken; then there is no message
}

// batch is what is stored in one commit.
type batch struct {
	submissions []submission
	err         error // why nothing more can be read
}

// lineReader makes submissions out of lines, holding no more of them than a batch.
type lineReader struct {
	in    *bufio.Reader
	parse func(line []byte) (outbox.Message, error) // must not keep line
	line  int
	begun bool // a line that is not empty has been read
}

func newLineReader(in io.Reader, parse func([]byte) (outbox.Message, error)) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, readAhead), parse: parse}
}

// run hands out batches, in order, until the input or ctx ends; then it closes out.
func (r *lineReader) run(ctx context.Context, out chan<- batch) {
	defer close(out)
	err := r.begin()
	for ended := false; !ended; {
		b := batch{err: err}
		if err == nil {
			b.submissions, b.err = r.next()
		}
		ended = b.err != nil
		if errors.Is(b.err, io.EOF) {
			b.err = nil
		}
		select {
		case out <- b:
		case <-ctx.Done():
			return
		}
	}
}

// errNotLines is the end of input that is not one message per line. It stands for
// what would otherwise be an error for each line.
var errNotLines = errors.New("weir send takes one message per line, as UTF-8")

// begin takes away a byte order mark, and refuses input that as a whole has
// another form.
func (r *lineReader) begin() error {
	start, err := r.in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil // next meets it too
	}
	switch {
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return fmt.Errorf("this is UTF-16: %w", errNotLines)
	case bytes.Equal(start, []byte("\ufeff")):
		_, err := r.in.Discard(len(start))
		return err
	}
	return nil
}

// checkForm tells by the first line whether the input as a whole has another
// form. A line that begins so cannot be a message, and one that was torn hardly
// ends so.
func checkForm(first []byte) error {
	if first[0] == '[' {
		return fmt.Errorf("this is a JSON array: %w, so jq -c '.[]' turns it into lines", errNotLines)
	}
	if first[0] == '{' && bytes.IndexByte([]byte("{[,"), first[len(first)-1]) >= 0 && !json.Valid(first) {
		return fmt.Errorf("this is JSON over several lines: %w, so jq -c . turns it into lines", errNotLines)
	}
	return nil
}

// next reads until a batch is full or the rest would have to be waited for: a
// producer that writes line by line into a pipe is served line by line.
func (r *lineReader) next() ([]submission, error) {
	var submissions []submission
	for size := 0; len(submissions) < batchLines && size < batchBytes; {
		if len(submissions) > 0 && !r.holdsLine() {
			break
		}
		text, err := r.read()
		if len(text) > 0 && !r.begun {
			r.begun = true
			if err := checkForm(text); err != nil {
				return nil, err
			}
		}
		if len(text) > 0 {
			s := submission{line: r.line}
			s.message, s.err = r.parse(text)
			submissions = append(submissions, s)
			size += len(text)
		}
		if err != nil {
			return submissions, err
		}
	}
	return submissions, nil
}

// holdsLine reports whether a whole line has been read ahead.
func (r *lineReader) holdsLine() bool {
	ahead, err := r.in.Peek(r.in.Buffered())
	return err == nil && bytes.IndexByte(ahead, '\n') >= 0
}

// read returns the next line without the white space around it. One that is far
// too long for an envelope is cut, not so short that it could pass for one, and
// the rest of it is skipped.
func (r *lineReader) read() ([]byte, error) {
	r.line++
	text, err := r.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSpace(text), err
	}
	text = bytes.Clone(text)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.in.ReadSlice('\n')
	}
	return text, err
}
