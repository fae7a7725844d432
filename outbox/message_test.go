package outbox_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/outbox"
)

var noon = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)

var known = outbox.Channels{
	"default": {"rcs", "email", "default"},
	"shop":    {"rcs", "sms_1"},
}

// read takes line the whole way from text to message.
func read(line string) (outbox.Message, error) {
	e, err := outbox.ParseEnvelope([]byte(line))
	if err != nil {
		return outbox.Message{}, err
	}
	return e.Message(noon, known)
}

func mustRead(t *testing.T, line string) outbox.Message {
	t.Helper()
	m, err := read(line)
	if err != nil {
		t.Fatalf("%s was refused: %v", line, err)
	}
	return m
}

func TestAnEnvelopeOfKeyAndBodyGetsTheDefaults(t *testing.T) {
	m := mustRead(t, `{"idempotency_key":"k1","body": { "to" : "+4915112345678" }}`)
	want := outbox.Message{
		Key: "k1", Body: []byte(`{ "to" : "+4915112345678" }`),
		Account: "default", Channel: "default", Lane: outbox.Normal,
		// Both computed with sha256sum.
		Fingerprint:   "1:adfdccbfc23a186335dabdb1badef88eea8d362f13fae9933732318f9cd3c2fc",
		RecipientHash: "536afd523e19dc83fccba822ef5e4ca646111314aaf0aa286667c5bea18dd70b",
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	if got := m.Bucket().String(); got != "default/default" {
		t.Errorf("the bucket is %s", got)
	}
}

func TestWhatAnEnvelopeSaysIsKept(t *testing.T) {
	m := mustRead(t, `{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","ttl":null,
		"expires_at":"2026-03-28T15:00:00.0019+01:00","send_at":"2026-03-28T13:00:00.0011Z",
		"lane":"high","channel":"sms_1","account":"shop","body":{"a":1},"idempotency_key":"!~"}`)
	if m.Account != "shop" || m.Channel != "sms_1" || m.Lane != outbox.High || m.Key != "!~" ||
		m.Traceparent != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" || m.RecipientHash != "" {
		t.Errorf("got %+v", m)
	}
	if want := time.Date(2026, 3, 28, 13, 0, 0, 2e6, time.UTC); m.SendAt != want {
		t.Errorf("send_at is %v, want it rounded up to %v", m.SendAt, want)
	}
	if want := time.Date(2026, 3, 28, 14, 0, 0, 1e6, time.UTC); m.ExpiresAt != want {
		t.Errorf("expires_at is %v, want it rounded down to %v", m.ExpiresAt, want)
	}
}

func TestTheBodyKeepsItsExactBytes(t *testing.T) {
	body := "{ \"z\":1.0 ,\n\t\"a\":\"\\u0041<&\u2028ä\", \"a b\":[ ] }"
	line := []byte(`{"idempotency_key":"k","body":` + body + ` , "lane":"bulk" }`)
	e, err := outbox.ParseEnvelope(line)
	if err != nil || string(e.Body) != body {
		t.Fatalf("got %q, %v", e.Body, err)
	}
	again, err := outbox.ParseEnvelope(e.AppendJSON(nil))
	if err != nil || string(again.Body) != body {
		t.Errorf("written and read again: %q, %v", again.Body, err)
	}
	clear(line)
	if string(e.Body) != body {
		t.Error("the envelope changed with the buffer that it was read from")
	}
}

func TestLaneAndChannelFollowFromTheBody(t *testing.T) {
	for _, row := range []struct {
		name, body, channel string
		lane                outbox.Lane
	}{
		{"an agent means RCS", `{"agent_id":"ag_live_1"}`, "rcs", outbox.Normal},
		{"an agent means RCS, also with a subject", `{"agent_id":"ag_live_1","channel_id":"ch_1","subject":"Hi"}`, "rcs", outbox.Normal},
		{"a channel with a subject means e-mail", `{"channel_id":"ch_1","subject":"Hi"}`, "email", outbox.Normal},
		{"a channel alone means nothing", `{"channel_id":"ch_1"}`, "default", outbox.Normal},
		{"a null counts as absent", `{"agent_id":null,"channel_id":"ch_1","subject":"Hi"}`, "email", outbox.Normal},
		{"only the body itself is asked, not what is in it", `{"content":{"agent_id":"a","traffic_type":"PROMOTION"}}`, "default", outbox.Normal},
		{"a one-time password goes first", `{"agent_id":"a","traffic_type":"AUTHENTICATION","message_type":"NEWSLETTER"}`, "rcs", outbox.High},
		{"promotion is bulk", `{"traffic_type":"PROMOTION"}`, "default", outbox.Bulk},
		{"a newsletter is bulk", `{"message_type":"NEWSLETTER","traffic_type":"TRANSACTION"}`, "default", outbox.Bulk},
		{"an escaped name and value are the same", `{"traffic_\u0074ype":"PROMO\u0054ION"}`, "default", outbox.Bulk},
		{"what is no string says nothing", `{"traffic_type":["PROMOTION"],"message_type":7}`, "default", outbox.Normal},
	} {
		m := mustRead(t, `{"idempotency_key":"k","body":`+row.body+`}`)
		if m.Channel != row.channel || m.Lane != row.lane {
			t.Errorf("%s: got %s, %s, want %s, %s", row.name, m.Channel, m.Lane, row.channel, row.lane)
		}
	}
}

func TestTheEarliestDeadlineHolds(t *testing.T) {
	in := func(d time.Duration) time.Time { return noon.Add(d) }
	for _, row := range []struct {
		name, fields, body string
		want               time.Time
	}{
		{"none is said", ``, `{}`, time.Time{}},
		{"a ttl counts from the handing over", `,"ttl":"90s"`, `{}`, in(90 * time.Second)},
		{"minutes", `,"ttl":"5m"`, `{}`, in(5 * time.Minute)},
		{"hours", `,"ttl":"24h"`, `{}`, in(24 * time.Hour)},
		{"the longest ttl ends with the year 9999", `,"ttl":"999999999h"`, `{}`, time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)},
		{"expires_at before ttl", `,"ttl":"2h","expires_at":"2026-03-28T13:00:00Z"`, `{}`, in(time.Hour)},
		{"ttl before expires_at", `,"ttl":"30m","expires_at":"2026-03-28T13:00:00Z"`, `{}`, in(30 * time.Minute)},
		{"the body's ttl bounds it too", `,"ttl":"30m"`, `{"ttl":"60s"}`, in(time.Minute)},
		{"the body's ttl does not lengthen", `,"ttl":"30m"`, `{"ttl":"1h"}`, in(30 * time.Minute)},
		{"a body's ttl of another form is the API's", ``, `{"ttl":"1.5h"}`, time.Time{}},
		{"a body's ttl that is no string is the API's", ``, `{"ttl":60}`, time.Time{}},
		{"a deadline in the past is taken", `,"expires_at":"1999-12-31T23:59:59Z"`, `{}`, time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		m := mustRead(t, `{"idempotency_key":"k"`+row.fields+`,"body":`+row.body+`}`)
		if m.ExpiresAt != row.want {
			t.Errorf("%s: expires at %v, want %v", row.name, m.ExpiresAt, row.want)
		}
	}
}

func TestARefusalNamesTheField(t *testing.T) {
	with := func(field string) string { return `{"idempotency_key":"k","body":{},` + field + `}` }
	key := func(k string) string { return `{"body":{},"idempotency_key":` + k + `}` }
	body := func(b string) string { return `{"idempotency_key":"k","body":` + b + `}` }
	for _, row := range []struct{ name, line, field string }{
		{"no JSON", `hello`, "envelope"},
		{"nothing", ``, "envelope"},
		{"no object", `["k"]`, "envelope"},
		{"cut off", `{"idempotency_key":"k","body":{}`, "envelope"},
		{"two on one line", body(`{}`) + body(`{}`), "envelope"},
		{"no key", `{"body":{}}`, "idempotency_key"},
		{"a null key", key(`null`), "idempotency_key"},
		{"an empty key", key(`""`), "idempotency_key"},
		{"a key that is a number", key(`1`), "idempotency_key"},
		{"a key of 256 characters", key(`"` + strings.Repeat("k", 256) + `"`), "idempotency_key"},
		{"a space in the key", key(`"a b"`), "idempotency_key"},
		{"a control character in the key", key(`"a\u0000b"`), "idempotency_key"},
		{"DEL in the key", key(`"a\u007fb"`), "idempotency_key"},
		{"a letter beyond ASCII in the key", key(`"ä"`), "idempotency_key"},
		{"a key twice", with(`"idempotency_key":"k"`), "idempotency_key"},
		{"no body", `{"idempotency_key":"k"}`, "body"},
		{"a null body", body(`null`), "body"},
		{"an array as body", body(`[]`), "body"},
		{"a string as body", body(`"{}"`), "body"},
		{"a body that is too large", body(`{"a":"` + strings.Repeat("x", outbox.MaxBody-7) + `"}`), "body"},
		{"an envelope that is too large", strings.Repeat(" ", outbox.MaxEnvelope-33) + body(`{"a":1}`), "envelope"},
		{"a name twice in the body", body(`{"a":{"b":1,"b":1}}`), "body.a.b"},
		{"invalid UTF-8 in the body", body("{\"a\":\"\xff\"}"), "body.a"},
		{"half a surrogate pair in the body", body(`{"a":"\ud800"}`), "body.a"},
		{"a body nested too deep", body(strings.Repeat(`{"a":`, 64) + `{}` + strings.Repeat(`}`, 64)), "body" + strings.Repeat(".a", 64)},
		{"another key in the body", body(`{"idempotency_key":"other"}`), "body.idempotency_key"},
		{"a key in the body that is no string", body(`{"idempotency_key":null}`), "body.idempotency_key"},
		{"an unknown field", with(`"priority":1`), "priority"},
		{"an unknown field that is null", with(`"priority":null`), "priority"},
		{"a field in capitals", with(`"Lane":"high"`), "Lane"},
		{"an unknown lane", with(`"lane":"urgent"`), "lane"},
		{"a lane in capitals", with(`"lane":"High"`), "lane"},
		{"a lane that is a number", with(`"lane":1`), "lane"},
		{"an account name in capitals", with(`"account":"Shop"`), "account"},
		{"an empty account", with(`"account":""`), "account"},
		{"an unknown account", with(`"account":"other"`), "account"},
		{"an unknown channel", with(`"channel":"fax"`), "channel"},
		{"a channel of another account", with(`"account":"shop","channel":"email"`), "channel"},
		{"a channel name of 33 characters", with(`"channel":"` + strings.Repeat("c", 33) + `"`), "channel"},
		{"a derived channel that the account lacks", with(`"account":"shop"`), "channel"},
		{"a time without a zone", with(`"send_at":"2026-03-28T14:30:00"`), "send_at"},
		{"a date", with(`"send_at":"2026-03-28"`), "send_at"},
		{"a time with a comma", with(`"send_at":"2026-03-28T14:30:00,5Z"`), "send_at"},
		{"an hour of one digit", with(`"send_at":"2026-03-28T4:30:00Z"`), "send_at"},
		{"Unix seconds", with(`"send_at":1774708200`), "send_at"},
		{"a day that does not exist", with(`"expires_at":"2026-02-30T00:00:00Z"`), "expires_at"},
		{"the year 1969", with(`"expires_at":"1969-12-31T23:59:59Z"`), "expires_at"},
		{"the year 1, which is the zero time", with(`"send_at":"0001-01-01T00:00:00Z"`), "send_at"},
		{"the year 10000 in UTC", with(`"send_at":"9999-12-31T23:59:59-01:00"`), "send_at"},
		{"a ttl of zero", with(`"ttl":"0s"`), "ttl"},
		{"a ttl with a sign", with(`"ttl":"+5s"`), "ttl"},
		{"a ttl in days", with(`"ttl":"1d"`), "ttl"},
		{"a ttl of two units", with(`"ttl":"1h30m"`), "ttl"},
		{"a ttl without a unit", with(`"ttl":"60"`), "ttl"},
		{"a ttl of ten digits", with(`"ttl":"1000000000s"`), "ttl"},
		{"a unit alone", with(`"ttl":"s"`), "ttl"},
		{"a traceparent that is too short", with(`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"`), "traceparent"},
		{"a traceparent in capitals", with(`"traceparent":"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`), "traceparent"},
		{"a traceparent without a trace", with(`"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01"`), "traceparent"},
		{"a traceparent of a forbidden version", with(`"traceparent":"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`), "traceparent"},
	} {
		_, err := read(row.line)
		var invalid *outbox.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Details) != 1 || invalid.Details[0].Field != row.field {
			t.Errorf("%s: got %v, want one fault of %s", row.name, err, row.field)
		}
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	body := `{"a":"` + strings.Repeat("x", outbox.MaxBody-8) + `"}`
	key := strings.Repeat("k", outbox.MaxKey)
	line := fmt.Sprintf(`{"idempotency_key":"%s","body":%s}`, key, body)
	line += strings.Repeat(" ", outbox.MaxEnvelope-len(line))
	if m := mustRead(t, line); m.Key != key || string(m.Body) != body {
		t.Error("key or body changed")
	}
	mustRead(t, `{"idempotency_key":"k","body":`+strings.Repeat(`{"a":`, 63)+`{}`+strings.Repeat(`}`, 63)+`}`)
	mustRead(t, `{"idempotency_key":"k","body":{"idempotency_key":"k"}}`)
	mustRead(t, `{"idempotency_key":"k","body":{},"send_at":"1970-01-01T00:00:00Z","expires_at":"9999-12-31T23:59:59.9999Z"}`)
	last := mustRead(t, `{"idempotency_key":"k","body":{},"send_at":"9999-12-31T23:59:59.9999Z"}`)
	if last.SendAt.Year() != 9999 {
		t.Errorf("send_at was rounded to %v", last.SendAt)
	}
}

func TestARefusalNamesEveryFaultOnOneLine(t *testing.T) {
	_, err := read(`{"Lane":"high","lane":"urgent","body":[],"ttl":"1d","send_at":"soon","account":7,"\u202e":1}`)
	const want = `Lane: must be written lane; ` +
		`send_at: "soon" is not a time in RFC 3339, such as 2026-03-28T14:30:00Z; ` +
		`account: must be a string; ` +
		`\u202e: is not a field of an envelope, which has idempotency_key, body, account, channel, lane, send_at, expires_at, ttl, traceparent; ` +
		`idempotency_key: is missing; give each send request a key of its own; ` +
		`body: must be a JSON object; ` +
		`lane: "urgent" is not one of high, normal, bulk; ` +
		`ttl: "1d" is not a whole number of s, m or h, such as 90s or 24h`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAHostileEnvelopeCannotFillTheLog(t *testing.T) {
	var line strings.Builder
	line.WriteString(`{"` + strings.Repeat("x", 10_000) + `":1`)
	for i := range 10_000 {
		fmt.Fprintf(&line, `,"%d":1`, i)
	}
	line.WriteString(`}`)
	if _, err := read(line.String()); err == nil || len(err.Error()) > 5000 {
		t.Errorf("the error is %v", err)
	}
}

func TestAnUnknownBucketIsToldWhatThereIs(t *testing.T) {
	_, err := read(`{"idempotency_key":"k","body":{},"account":"other"}`)
	if err == nil || err.Error() != `account: there is no account "other"; there is default, shop` {
		t.Errorf("got %v", err)
	}
	_, err = read(`{"idempotency_key":"k","body":{},"account":"shop","channel":"email"}`)
	if err == nil || err.Error() != `channel: account "shop" has no channel "email"; it has rcs, sms_1` {
		t.Errorf("got %v", err)
	}
}

func TestWithoutChannelsEveryWellFormedNamePasses(t *testing.T) {
	e := outbox.Envelope{Key: "k", Body: []byte(`{}`), Account: "other", Channel: "fax"}
	if m, err := e.Message(noon, nil); err != nil || m.Bucket().String() != "other/fax" {
		t.Errorf("got %+v, %v", m, err)
	}
	e.Channel = "Fax"
	if _, err := e.Message(noon, nil); err == nil {
		t.Error("a malformed channel passed")
	}
}

func TestAnEnvelopeIsReadAsItWasWritten(t *testing.T) {
	e := outbox.Envelope{
		Key: `"\~`, Body: []byte(`{"a":1}`), Account: "shop", Channel: "rcs", Lane: "bulk",
		SendAt: noon.Add(time.Millisecond), ExpiresAt: noon.Add(time.Hour), TTL: "5m",
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for _, want := range []outbox.Envelope{e, {Key: "k", Body: []byte(`{}`)}} {
		got, err := outbox.ParseEnvelope(want.AppendJSON(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestTheFingerprintTellsWhetherTwoMessagesAreTheSame(t *testing.T) {
	const body = `{"to":"+49","content":{"text":"A","n":1}}`
	for _, row := range []struct {
		name, account, body string
		same                bool
	}{
		{"the same bytes", "default", body, true},
		{"other white space and order", "default", ` {"content": {"n":1, "text":"A"} , "to":"+49"}`, true},
		{"other escapes", "default", `{"to":"\u002b49","content":{"t\u0065xt":"\u0041","n":1}}`, true},
		{"another account", "shop", body, false},
		{"another text", "default", `{"to":"+49","content":{"text":"B","n":1}}`, false},
		{"another spelling of a number", "default", `{"to":"+49","content":{"text":"A","n":1.0}}`, false},
		{"a string instead of a number", "default", `{"to":"+49","content":{"text":"A","n":"1"}}`, false},
		{"one member more", "default", `{"to":"+49","content":{"text":"A","n":1},"x":null}`, false},
	} {
		want, err := outbox.Fingerprint("default", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := outbox.Fingerprint(row.account, []byte(row.body))
		if err != nil || (got == want) != row.same {
			t.Errorf("%s: got %s, %v, beside %s", row.name, got, err, want)
		}
	}
}

func TestAKeyIsAUUIDThatAnyLanguageCanCompute(t *testing.T) {
	// Python: uuid.uuid5(uuid.UUID(KeyNamespace), "5:order5:10023")
	if got, want := outbox.Key("order", "10023"), "a057e036-e891-527c-a838-e0adf92a0194"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPartsOfAKeyDoNotRunTogether(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{"a", "bc"}, {"ab", "c"}, {"abc"}, {"a", "bc", ""}, {"", "a", "bc"}, {"1:a2:bc"}, {"a2:bc"}, {"ä"}} {
		key := outbox.Key(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have one key", parts, other)
		}
		seen[key] = parts
	}
}
