package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"weir/outbox"
)

// What one limiter of an account counts.
const (
	LimitByChannel = "channel" // each channel has a limit of its own
	LimitByKey     = "key"     // one limit for all channels of the API key
)

// maxChannels is how many channels an account may list in weir.yaml: each is a
// bucket with a feed, gates and a status row.
const maxChannels = 64

// Account is an API and the key to it.
type Account struct {
	Name       string
	URL        string   // without a slash at the end
	Key        Secret   // empty if KeyFile holds it
	KeyFile    string   // empty if Key is given
	LimitScope string   // LimitByChannel or LimitByKey
	Channels   []string // those that weir.yaml adds to the built-in ones

	urlFrom, keyFrom string // the settings to name in errors
}

// ReadKey returns the API key, read anew from KeyFile if there is one, so that
// a rotated key counts without a restart. Its errors name the file and never
// what it holds.
func (a Account) ReadKey() (string, error) {
	if a.KeyFile == "" {
		return string(a.Key), nil
	}
	// Opening a pipe or the like may wait for ever, and with it who reads the key.
	if info, err := os.Stat(a.KeyFile); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("API key of account %s: %s %w", a.Name, a.KeyFile, errNoFile)
	}
	data, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return "", fmt.Errorf("reading the API key of account %s: %w", a.Name, err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return "", fmt.Errorf("API key of account %s: %s %w", a.Name, a.KeyFile, errEmpty)
	}
	key, err := parseSecret(string(data))
	if err != nil {
		return "", fmt.Errorf("API key of account %s in %s: %w", a.Name, a.KeyFile, err)
	}
	return string(key), nil
}

// setAccounts makes the accounts out of those that weir.yaml lists and the
// settings of the default account, sorted by name.
func (c *Config) setAccounts(listed []fileAccount, wrong *faults) {
	given := c.APIURL != "" || c.APIKey != "" || c.APIKeyFile != ""
	isDefault := func(f fileAccount) bool { return f.name.text == outbox.DefaultAccount }
	if !slices.ContainsFunc(listed, isDefault) && (given || len(listed) == 0) {
		listed = append(listed, fileAccount{name: sourced{text: outbox.DefaultAccount}})
	}
	for _, f := range listed {
		account := f.parse(wrong)
		if isDefault(f) {
			c.completeDefault(&account, f)
		}
		c.Accounts = append(c.Accounts, account)
	}
	slices.SortFunc(c.Accounts, func(a, b Account) int { return cmp.Compare(a.Name, b.Name) })
}

// completeDefault takes from WEIR_API_... what weir.yaml leaves open.
func (c *Config) completeDefault(a *Account, listed fileAccount) {
	if listed.url.text == "" {
		a.URL, a.urlFrom = c.APIURL, "WEIR_API_URL"
	} else if c.APIURL != "" {
		c.warnUnused("WEIR_API_URL", a.urlFrom)
	}
	if listed.keyFile.text == "" {
		a.Key, a.KeyFile, a.keyFrom = c.APIKey, c.APIKeyFile, "WEIR_API_KEY"
		if c.APIKeyFile != "" {
			a.keyFrom = "WEIR_API_KEY_FILE"
		}
	} else if c.APIKey != "" || c.APIKeyFile != "" {
		c.warnUnused("WEIR_API_KEY", a.keyFrom)
	}
}

func (c *Config) warnUnused(setting, instead string) {
	c.Warnings = append(c.Warnings, fmt.Sprintf("%s is not used: %s has %s", setting, c.File, instead))
}

// parse judges what weir.yaml says about one account.
func (f fileAccount) parse(wrong *faults) Account {
	path := "accounts." + f.name.text
	a := Account{LimitScope: LimitByChannel, urlFrom: path + ".url", keyFrom: path + ".key_file"}
	take := func(setting string, value sourced, p textParser) {
		if err := p.parse(value.text); err != nil {
			wrong.add(setting, value.where, err)
		}
	}
	takeIfGiven := func(setting string, value sourced, p textParser) {
		if value.text != "" {
			take(setting, value, p)
		}
	}
	take(path, f.name, asName(&a.Name))
	takeIfGiven(a.urlFrom, f.url, asAPIURL(&a.URL))
	takeIfGiven(a.keyFrom, f.keyFile, asText("path", &a.KeyFile))
	takeIfGiven(path+".limit", f.limit, asWord(&a.LimitScope, limitScopes))
	for _, channel := range f.channels {
		var text string
		take(path+".channels", channel, asName(&text))
		a.Channels = append(a.Channels, text)
	}
	slices.Sort(a.Channels)
	a.Channels = slices.Compact(a.Channels)
	if len(a.Channels) > maxChannels {
		wrong.add(path+".channels", f.name.where, fmt.Errorf("must be at most %d, not %d", maxChannels, len(a.Channels)))
	}
	return a
}

// errEmpty is the fault of a key file, mostly of one whose secret was not filled in.
var errEmpty = errors.New("is empty; put the key into it")

// errNoFile is the fault of a pipe or a device in the place of a key file.
var errNoFile = errors.New("is no file; put the key into one, since it is read again and again")

// errNeeded is the fault of an account that lacks its URL or key.
var errNeeded = errors.New("is needed to call the API")

// checkAccounts finds what keeps the daemon from sending: accounts without URL
// or key, and two that are one to the API, whose limit each would use in full.
func (c *Config) checkAccounts(wrong *faults) {
	if c.APIKey != "" && c.APIKeyFile != "" {
		wrong.add("WEIR_API_KEY", "", errors.New("stands beside WEIR_API_KEY_FILE; keep one of them"))
	}
	type identity struct{ url, key string }
	seen := make(map[identity]string)
	for _, a := range c.Accounts {
		if a.URL == "" && !wrong.unread && !wrong.on(a.urlFrom) {
			wrong.add(a.urlFrom, "", errNeeded)
		}
		if a.Key == "" && a.KeyFile == "" && !wrong.unread && !wrong.on(a.keyFrom) {
			wrong.add(a.keyFrom, "", errNeeded)
		}
		key, err := a.ReadKey()
		if err != nil {
			wrong.add(a.keyFrom, "", err)
		}
		c.warnIfOpen(a.KeyFile)
		if a.URL == "" || key == "" {
			continue
		}
		if twin, ok := seen[identity{a.URL, key}]; ok {
			wrong.add("accounts."+a.Name, "", fmt.Errorf("has the URL and the key of account %s; keep one of the two", twin))
		}
		seen[identity{a.URL, key}] = a.Name
	}
}

// warnIfOpen notes a file with a secret that every user of the machine can read.
func (c *Config) warnIfOpen(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds a secret and is readable by every user; chmod it to 0600", path))
	}
}

func asAPIURL(to *string) textParser {
	return textParser{"url", to, func(text string) error {
		u, err := url.Parse(text)
		// No message repeats the URL: it may hold a password or a key.
		switch {
		case err != nil || u.Hostname() == "":
			return errors.New("must be a URL such as https://api.example.com")
		case u.User != nil:
			return errors.New("must not hold a user or password; the key goes into WEIR_API_KEY_FILE")
		case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
			return errors.New("must not have a query or fragment")
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			return errors.New("must be https: over http the API key and the messages could be read on the way")
		case u.Scheme != "https" && u.Scheme != "http":
			return errors.New("must be an https URL")
		}
		u.Host = strings.ToLower(u.Host)
		*to = strings.TrimRight(u.String(), "/")
		return nil
	}}
}

func asNATSURL(to *Secret) textParser {
	return textParser{"urls", to, func(text string) error {
		for server := range strings.SplitSeq(text, ",") {
			u, err := url.Parse(strings.TrimSpace(server))
			if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
				return errors.New("must be a URL such as nats://127.0.0.1:4222, or several with commas between")
			}
		}
		*to = Secret(text)
		return nil
	}}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
