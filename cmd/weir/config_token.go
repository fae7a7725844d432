package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// adminTokenFile keeps the token of the HTTP API in the data directory.
const adminTokenFile = "admin.token"

// adminToken gives WEIR_ADMIN_TOKEN or, without it, the token in admin.token,
// which is made if it is missing.
func (c *Config) adminToken() (Secret, error) {
	token, err := c.knownAdminToken()
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	token = Secret(rand.Text())
	if err := writeWhole(filepath.Join(c.DataDir, adminTokenFile), string(token)+"\n"); err != nil {
		return "", fmt.Errorf("making the admin token: %w; give weir the right to write there, or set WEIR_ADMIN_TOKEN", err)
	}
	return token, nil
}

// knownAdminToken is adminToken for those who make none: an fs.ErrNotExist
// says that there is none yet.
func (c *Config) knownAdminToken() (Secret, error) {
	if c.AdminToken != "" {
		return c.AdminToken, nil
	}
	path := filepath.Join(c.DataDir, adminTokenFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	token, err := parseSecret(string(text))
	if err != nil {
		return "", fmt.Errorf("the admin token in %s %w; remove the file and start weir serve again, which makes a new one", path, err)
	}
	return token, nil
}

// writeWhole makes a file that only its owner can read, or none.
func writeWhole(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
