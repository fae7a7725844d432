-- Times are integer Unix milliseconds; absent is NULL. Go supplies every
-- time; SQL reads the clock only to say "stopped" in status_readable. In a table
-- WITHOUT ROWID the key's columns stand first, in its order: the integrity_check
-- of an older SQLite raises a false alarm otherwise.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- The body stands last, so that reading the other columns of a row with a
-- large body does not walk through its overflow pages. Conditions that are
-- checked at every change are chains of OR: for an IN of more than two values
-- SQLite builds a table each time, which doubles the cost of a claim.
CREATE TABLE messages (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  idempotency_key  TEXT    NOT NULL UNIQUE,
  fingerprint      TEXT    NOT NULL,
  account          TEXT    NOT NULL,
  channel          TEXT    NOT NULL,
  lane             TEXT    NOT NULL CHECK (lane = 'normal' OR lane = 'bulk' OR lane = 'high'),
  state            TEXT    NOT NULL CHECK (state = 'sending' OR state = 'sent' OR state = 'pending' OR state = 'retrying' OR
                                           state = 'failed' OR state = 'expired' OR state = 'canceled' OR state = 'unknown'),
  generation       INTEGER NOT NULL DEFAULT 1,
  epoch            INTEGER,
  scope            TEXT,
  recipient_hash   TEXT,
  traceparent      TEXT,
  attempts         INTEGER NOT NULL DEFAULT 0,
  throttles        INTEGER NOT NULL DEFAULT 0,
  send_at          INTEGER,
  due_at           INTEGER NOT NULL,
  expires_at       INTEGER,
  created_at       INTEGER NOT NULL,
  first_attempt_at INTEGER,
  ambiguous_at     INTEGER,
  updated_at       INTEGER NOT NULL,
  settled_at       INTEGER,
  message_id       TEXT,
  request_id       TEXT,
  http_status      INTEGER,
  error_code       TEXT,
  error_message    TEXT,
  body             TEXT,
  CHECK ((settled_at IS NULL) = (state = 'sending' OR state = 'pending' OR state = 'retrying')),
  CHECK (body IS NOT NULL OR settled_at IS NOT NULL) -- what may still be sent has its body
) STRICT;

-- The feed: rows of one lane in their order, due retries apart from fresh messages.
CREATE INDEX messages_pending  ON messages (account, channel, lane, due_at, id, generation) WHERE state = 'pending';
CREATE INDEX messages_retrying ON messages (account, channel, lane, due_at, id, generation) WHERE state = 'retrying';
-- Recovery and the sweep: claims, whoever made them.
CREATE INDEX messages_sending ON messages (epoch) WHERE state = 'sending';
-- Deadlines, and the end of the time in which repeating is safe.
CREATE INDEX messages_expires   ON messages (expires_at)   WHERE expires_at IS NOT NULL AND state IN ('pending', 'retrying');
CREATE INDEX messages_ambiguous ON messages (ambiguous_at) WHERE ambiguous_at IS NOT NULL AND state IN ('pending', 'retrying');
-- Lists of what went wrong.
CREATE INDEX messages_unsent ON messages (state, id) WHERE settled_at IS NOT NULL AND state <> 'sent';
-- Retention: bodies to purge, and what is left of messages without theirs. A
-- message is in one of them at a time, and only once it has settled.
CREATE INDEX messages_whole ON messages (settled_at) WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NOT NULL;
CREATE INDEX messages_bare  ON messages (settled_at) WHERE settled_at IS NOT NULL AND state <> 'unknown' AND body IS NULL;

CREATE TABLE attempts (
  message       INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
  number        INTEGER NOT NULL,
  requests      INTEGER NOT NULL DEFAULT 1,
  started_at    INTEGER NOT NULL,
  duration_ms   INTEGER,
  verdict       TEXT    NOT NULL CHECK (verdict = 'sent' OR verdict = 'refused' OR verdict = 'retry' OR verdict = 'ambiguous' OR
                                        verdict = 'throttled' OR verdict = 'unauthorized' OR verdict = 'unpaid' OR
                                        verdict = 'not_api' OR verdict = 'never_left' OR verdict = 'in_progress' OR verdict = 'lost'),
  http_status   INTEGER,
  error_code    TEXT,
  error_message TEXT,
  request_id    TEXT,
  rate_limit    INTEGER,
  remaining     INTEGER,
  reset_at      INTEGER,
  PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE gates (
  scope      TEXT    NOT NULL,
  kind       TEXT    NOT NULL CHECK (kind IN ('paused', 'held', 'degraded', 'parked')),
  set_by     TEXT    NOT NULL,
  reason     TEXT    NOT NULL,
  since_at   INTEGER NOT NULL,
  until_at   INTEGER,
  request_id TEXT,
  PRIMARY KEY (scope, kind, set_by)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejected (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  size        INTEGER NOT NULL, -- of the whole payload; more than stands here: it was cut
  reason      TEXT    NOT NULL,
  received_at INTEGER NOT NULL,
  payload     BLOB    NOT NULL  -- last, like the body of a message
) STRICT;

-- What stays for ever of a message whose row is gone: enough to refuse another
-- one with its key.
CREATE TABLE tombstones (
  key_hash    BLOB    PRIMARY KEY, -- SHA-256 of the idempotency key
  fingerprint TEXT    NOT NULL,
  state       TEXT    NOT NULL,
  message_id  TEXT,
  settled_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE status (
  scope            TEXT    PRIMARY KEY,
  state            TEXT    NOT NULL DEFAULT 'stopped'
                           CHECK (state IN ('running', 'parked', 'degraded', 'held', 'paused', 'stopped')),
  reason           TEXT,
  since_at         INTEGER,
  until_at         INTEGER,
  limit_scope      TEXT,
  rate_limit       INTEGER,
  remaining        INTEGER,
  reset_at         INTEGER,
  window_ms        INTEGER,
  clock_offset_ms  INTEGER,
  pending          INTEGER NOT NULL DEFAULT 0,
  scheduled        INTEGER NOT NULL DEFAULT 0,
  retrying         INTEGER NOT NULL DEFAULT 0,
  in_flight        INTEGER NOT NULL DEFAULT 0,
  sent             INTEGER NOT NULL DEFAULT 0,
  failed           INTEGER NOT NULL DEFAULT 0,
  expired          INTEGER NOT NULL DEFAULT 0,
  canceled         INTEGER NOT NULL DEFAULT 0,
  unknown          INTEGER NOT NULL DEFAULT 0,
  throttled        INTEGER NOT NULL DEFAULT 0,
  sent_last_minute INTEGER NOT NULL DEFAULT 0,
  oldest_due_at    INTEGER,
  eta_at           INTEGER,
  last_request_id  TEXT,
  last_error_code  TEXT,
  heartbeat_at     INTEGER
) STRICT, WITHOUT ROWID;

-- The counts of a bucket follow every change of a message, whoever makes it.
-- The daemon's row holds their sums, which weir takes once in each commit.
CREATE TRIGGER bucket_appears BEFORE INSERT ON messages
WHEN NOT EXISTS (SELECT 1 FROM status WHERE scope = 'bucket:' || NEW.account || '/' || NEW.channel)
 AND NOT EXISTS (SELECT 1 FROM messages WHERE idempotency_key = NEW.idempotency_key) BEGIN -- a repeat is not inserted
  INSERT INTO status (scope, state, reason, since_at, heartbeat_at)
    SELECT 'bucket:' || NEW.account || '/' || NEW.channel, state, reason, NEW.created_at, heartbeat_at FROM status
    WHERE scope = 'daemon:' || (SELECT value FROM meta WHERE name = 'instance');
END;

CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
  UPDATE status SET
    pending   = pending   + (NEW.state = 'pending'),
    retrying  = retrying  + (NEW.state = 'retrying'),
    in_flight = in_flight + (NEW.state = 'sending'),
    sent      = sent      + (NEW.state = 'sent'),
    failed    = failed    + (NEW.state = 'failed'),
    expired   = expired   + (NEW.state = 'expired'),
    canceled  = canceled  + (NEW.state = 'canceled'),
    unknown   = unknown   + (NEW.state = 'unknown'),
    throttled = throttled + NEW.throttles
  WHERE scope = 'bucket:' || NEW.account || '/' || NEW.channel;
END;

CREATE TRIGGER messages_updated AFTER UPDATE OF state, throttles ON messages
WHEN OLD.state <> NEW.state OR OLD.throttles <> NEW.throttles BEGIN
  UPDATE status SET
    pending   = pending   + (NEW.state = 'pending')  - (OLD.state = 'pending'),
    retrying  = retrying  + (NEW.state = 'retrying') - (OLD.state = 'retrying'),
    in_flight = in_flight + (NEW.state = 'sending')  - (OLD.state = 'sending'),
    sent      = sent      + (NEW.state = 'sent')     - (OLD.state = 'sent'),
    failed    = failed    + (NEW.state = 'failed')   - (OLD.state = 'failed'),
    expired   = expired   + (NEW.state = 'expired')  - (OLD.state = 'expired'),
    canceled  = canceled  + (NEW.state = 'canceled') - (OLD.state = 'canceled'),
    unknown   = unknown   + (NEW.state = 'unknown')  - (OLD.state = 'unknown'),
    throttled = throttled + NEW.throttles - OLD.throttles
  WHERE scope = 'bucket:' || NEW.account || '/' || NEW.channel;
END;

CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
  UPDATE status SET
    pending   = pending   - (OLD.state = 'pending'),
    retrying  = retrying  - (OLD.state = 'retrying'),
    in_flight = in_flight - (OLD.state = 'sending'),
    sent      = sent      - (OLD.state = 'sent'),
    failed    = failed    - (OLD.state = 'failed'),
    expired   = expired   - (OLD.state = 'expired'),
    canceled  = canceled  - (OLD.state = 'canceled'),
    unknown   = unknown   - (OLD.state = 'unknown'),
    throttled = throttled - OLD.throttles
  WHERE scope = 'bucket:' || OLD.account || '/' || OLD.channel;
END;

CREATE VIEW messages_readable AS SELECT
  id, idempotency_key, fingerprint, account, channel, lane, body, state, generation, epoch, scope, recipient_hash,
  traceparent, attempts, throttles,
  strftime('%Y-%m-%dT%H:%M:%fZ', send_at          / 1000.0, 'unixepoch') AS send_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', due_at           / 1000.0, 'unixepoch') AS due_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', expires_at       / 1000.0, 'unixepoch') AS expires_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at       / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', first_attempt_at / 1000.0, 'unixepoch') AS first_attempt_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ambiguous_at     / 1000.0, 'unixepoch') AS ambiguous_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', updated_at       / 1000.0, 'unixepoch') AS updated_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', settled_at       / 1000.0, 'unixepoch') AS settled_at,
  message_id, request_id, http_status, error_code, error_message
FROM messages;

CREATE VIEW attempts_readable AS SELECT
  message, number, requests,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
  duration_ms, verdict, http_status, error_code, error_message, request_id, rate_limit, remaining,
  strftime('%Y-%m-%dT%H:%M:%fZ', reset_at / 1000.0, 'unixepoch') AS reset_at
FROM attempts;

CREATE VIEW gates_readable AS SELECT
  scope, kind, reason,
  strftime('%Y-%m-%dT%H:%M:%fZ', since_at / 1000.0, 'unixepoch') AS since_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', until_at / 1000.0, 'unixepoch') AS until_at,
  request_id, set_by
FROM gates;

CREATE VIEW rejected_readable AS SELECT
  id, CAST(payload AS TEXT) AS payload, size, reason,
  strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1000.0, 'unixepoch') AS received_at
FROM rejected;

CREATE VIEW tombstones_readable AS SELECT
  lower(hex(key_hash)) AS key_hash, fingerprint, state, message_id,
  strftime('%Y-%m-%dT%H:%M:%fZ', settled_at / 1000.0, 'unixepoch') AS settled_at
FROM tombstones;

-- A daemon that died cannot say so: a heartbeat older than 15 s reads as stopped.
CREATE VIEW status_readable AS
WITH clock AS (
  SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 15000 AS alive_since
), judged AS (
  SELECT status.*, heartbeat_at IS NULL OR heartbeat_at < alive_since OR state = 'stopped' AS dead
  FROM status, clock
)
SELECT
  scope,
  iif(dead, 'stopped', state) AS state,
  CASE WHEN dead AND state <> 'stopped' THEN 'no heartbeat for over 15 s: the daemon is not running; start weir serve'
       WHEN dead AND reason IS NULL THEN 'no daemon has run yet: start weir serve'
       ELSE reason END AS reason,
  strftime('%Y-%m-%dT%H:%M:%fZ', iif(dead AND state <> 'stopped', heartbeat_at, since_at) / 1000.0, 'unixepoch') AS since_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', iif(dead, NULL, until_at) / 1000.0, 'unixepoch') AS until_at,
  limit_scope, rate_limit, remaining,
  strftime('%Y-%m-%dT%H:%M:%fZ', reset_at / 1000.0, 'unixepoch') AS reset_at,
  window_ms, clock_offset_ms,
  pending, scheduled, retrying, in_flight, sent, failed, expired, canceled, unknown, throttled,
  iif(dead, 0, sent_last_minute) AS sent_last_minute,
  strftime('%Y-%m-%dT%H:%M:%fZ', oldest_due_at / 1000.0, 'unixepoch') AS oldest_due_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', iif(dead, NULL, eta_at) / 1000.0, 'unixepoch') AS eta_at,
  last_request_id, last_error_code,
  strftime('%Y-%m-%dT%H:%M:%fZ', heartbeat_at / 1000.0, 'unixepoch') AS heartbeat_at
FROM judged;
