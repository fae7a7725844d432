-- What a person's data was erased by: that it was, and how much, is never erased.
CREATE TABLE erasures (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  asked_for TEXT    NOT NULL CHECK (asked_for IN ('key', 'recipient')), -- not whose: that would be their data
  asked_by  TEXT    NOT NULL,                                           -- the user of the machine
  messages  INTEGER NOT NULL,
  canceled  INTEGER NOT NULL, -- of the messages: they still waited
  rejected  INTEGER NOT NULL,
  erased_at INTEGER NOT NULL
) STRICT;

-- The SHA-256 of the keys whose envelopes and events are still to be taken out
-- of the streams of NATS, which the daemon does.
CREATE TABLE erased_keys (
  key_hash BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Absent: the row went because it was old.
ALTER TABLE tombstones ADD COLUMN erased_at INTEGER;

DROP VIEW tombstones_readable;
CREATE VIEW tombstones_readable AS SELECT
  lower(hex(key_hash)) AS key_hash, fingerprint, state, message_id,
  strftime('%Y-%m-%dT%H:%M:%fZ', settled_at / 1000.0, 'unixepoch') AS settled_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', erased_at  / 1000.0, 'unixepoch') AS erased_at
FROM tombstones;

CREATE VIEW erasures_readable AS SELECT
  id, asked_for, asked_by, messages, canceled, rejected,
  strftime('%Y-%m-%dT%H:%M:%fZ', erased_at / 1000.0, 'unixepoch') AS erased_at
FROM erasures;
