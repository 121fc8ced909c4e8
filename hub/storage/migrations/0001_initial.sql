-- The record log is the truth of content; what follows it is either a projection of the log, which
-- `hub rebuild` makes again, or local truth, which it keeps. Times are Unix milliseconds.

CREATE TABLE migration (
  version    INTEGER PRIMARY KEY,
  applied_ms INTEGER NOT NULL,
  program    TEXT NOT NULL
) STRICT;

-- A counter that is only there to be changed: see database.py, growing the WAL.
CREATE TABLE wal_growth (n INTEGER NOT NULL) STRICT;
INSERT INTO wal_growth VALUES (0);

-- This hub's own place in its log: one row.
CREATE TABLE lineage (
  hub     BLOB NOT NULL,      -- our Ed25519 public key
  epoch   BLOB NOT NULL,      -- new at install and at every restore
  seq     INTEGER NOT NULL,   -- last sequence number used in this epoch
  ms      INTEGER NOT NULL,   -- last stamp of the hybrid logical clock
  counter INTEGER NOT NULL
) STRICT;

----------------------------------------------------------------------------------------- the log
-- An ordinary rowid table: with the random id as its key, inserting costs over three times as much.
CREATE TABLE record (
  n         INTEGER PRIMARY KEY,
  id        BLOB NOT NULL,
  obj       BLOB NOT NULL,
  seen_ms   INTEGER NOT NULL,
  header    BLOB NOT NULL,
  signature BLOB NOT NULL,
  body      BLOB              -- NULL: it has none, was superseded, or was erased
) STRICT;
CREATE UNIQUE INDEX record_id ON record (id);
CREATE INDEX record_obj ON record (obj);

-------------------------------------------------------------------------------------- projections
-- The key orders the board and the search index alike: display time, then a part of the object id.
CREATE TABLE notice (
  key        INTEGER PRIMARY KEY,
  obj        BLOB NOT NULL,
  public_id  TEXT NOT NULL,
  record     INTEGER NOT NULL REFERENCES record (n),  -- its newest content
  kind       TEXT NOT NULL,
  state      INTEGER NOT NULL,                        -- 0 live, 1 withdrawn, 2 erased
  shown_ms   INTEGER NOT NULL,
  edited_ms  INTEGER,
  changed_ms INTEGER NOT NULL,                        -- when it came into its state
  exp_ms     INTEGER NOT NULL,
  replies    INTEGER NOT NULL DEFAULT 0               -- live ones, whether hidden here or not
) STRICT;
CREATE UNIQUE INDEX notice_obj ON notice (obj);
CREATE INDEX notice_urgent ON notice (key) WHERE kind = 'urgent';

CREATE TABLE reply (
  key        INTEGER PRIMARY KEY,
  obj        BLOB NOT NULL,
  public_id  TEXT NOT NULL,
  notice     BLOB NOT NULL,                           -- the notice's obj, which may not have arrived yet
  record     INTEGER NOT NULL REFERENCES record (n),
  state      INTEGER NOT NULL,
  shown_ms   INTEGER NOT NULL,
  edited_ms  INTEGER,
  changed_ms INTEGER NOT NULL,
  exp_ms     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX reply_obj ON reply (obj);
CREATE INDEX reply_notice ON reply (notice, key);

-- Which objects name which blobs: what may be served, and what may be collected.
CREATE TABLE blob_use (
  sha256 BLOB NOT NULL,
  obj    BLOB NOT NULL,
  PRIMARY KEY (sha256, obj)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_use_obj ON blob_use (obj);

-- One row per notice and per reply, in the order of the board: by the display time of the notice.
CREATE TABLE search_doc (
    shown_ms INTEGER NOT NULL,  -- display time of the notice, for its replies too
    notice   BLOB NOT NULL,
    obj      BLOB NOT NULL,     -- the notice itself, or one of its replies
    words    TEXT NOT NULL,     -- its distinct folded words, a space before each
    PRIMARY KEY (shown_ms, notice, obj)
) WITHOUT ROWID;

-- Which of them the index has not taken over yet.
CREATE TABLE search_tail (
    shown_ms INTEGER NOT NULL,
    notice   BLOB NOT NULL,
    obj      BLOB NOT NULL,
    PRIMARY KEY (shown_ms, notice, obj)
) WITHOUT ROWID;

-- One index row per slot of display time (hub/storage/search.py): the words of all documents in it.
CREATE VIRTUAL TABLE search_index USING fts5(
    words, content = '', columnsize = 0, detail = none, tokenize = 'ascii'
);
CREATE VIRTUAL TABLE search_word USING fts5vocab(search_index, instance);

-------------------------------------------------------------------------------------- local truth
-- Who may change an object here, and the one-time key of the form it came with.
CREATE TABLE ownership (
  obj      BLOB PRIMARY KEY,
  device   BLOB,              -- keyed hash of the device cookie
  phrase   BLOB,              -- keyed hash of the take-down phrase
  form_key BLOB
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ownership_form ON ownership (form_key) WHERE form_key IS NOT NULL;
CREATE INDEX ownership_device ON ownership (device) WHERE device IS NOT NULL;

-- A device that has written something. No address, no user agent; the day, not the moment.
CREATE TABLE device (
  hash      BLOB PRIMARY KEY,
  mark      TEXT NOT NULL,      -- two words by which caretakers tell devices apart
  since_day INTEGER NOT NULL,   -- days since 1970
  shown     INTEGER NOT NULL DEFAULT 0,  -- notices that were put up or approved
  trusted   INTEGER NOT NULL DEFAULT 0,
  paused_until_ms INTEGER,
  banned_until_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX device_mark ON device (mark);

-- Written but not a record yet: waiting for a caretaker (decision 16).
CREATE TABLE held (
  obj     BLOB PRIMARY KEY,
  notice  BLOB,                 -- for a reply: the notice it answers
  of      TEXT NOT NULL,        -- 'notice', 'reply'
  body    BLOB NOT NULL,        -- the body as it would be published, canonical CBOR
  exp_ms  INTEGER NOT NULL,
  scope   TEXT NOT NULL,
  held_ms INTEGER NOT NULL,
  changes INTEGER NOT NULL      -- 1: a change to a record that is already published
) STRICT, WITHOUT ROWID;
CREATE INDEX held_notice ON held (notice) WHERE notice IS NOT NULL;

CREATE TABLE hide (
  obj     BLOB PRIMARY KEY,
  thread  BLOB,                 -- for a reply: its notice
  at_ms   INTEGER NOT NULL,
  rule    TEXT NOT NULL,
  by_reports INTEGER NOT NULL   -- 1: by reports, until a person has looked
) STRICT, WITHOUT ROWID;

CREATE TABLE mark (
  obj               BLOB PRIMARY KEY,
  pinned_until_ms   INTEGER,
  official_until_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE report (
  reference  TEXT PRIMARY KEY,
  obj        BLOB NOT NULL,
  of         TEXT NOT NULL,     -- 'notice', 'reply'
  reason     TEXT NOT NULL,
  words      TEXT NOT NULL,
  device     BLOB,
  form_key   BLOB,
  at_ms      INTEGER NOT NULL,
  decided_ms INTEGER,
  outcome    TEXT,              -- 'hidden', 'kept', 'erased'
  rule       TEXT,
  answer     TEXT
) STRICT;
CREATE INDEX report_obj ON report (obj);
CREATE UNIQUE INDEX report_form ON report (form_key) WHERE form_key IS NOT NULL;

CREATE TABLE ledger (
  number   INTEGER PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  act      TEXT NOT NULL,
  rule     TEXT NOT NULL,
  role     TEXT NOT NULL,
  subject  TEXT NOT NULL,
  outcome  TEXT NOT NULL,
  previous BLOB NOT NULL,
  digest   BLOB NOT NULL
) STRICT;

-- Who did what at the local socket: private, and dropped after 90 days.
CREATE TABLE audit (
  n      INTEGER PRIMARY KEY,
  at_ms  INTEGER NOT NULL,
  actor  TEXT NOT NULL,
  act    TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;

CREATE TABLE setting (
  key        TEXT PRIMARY KEY,
  value      TEXT NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Pictures of a form that was refused, kept for a day so that nobody chooses them twice.
CREATE TABLE draft_picture (
  token   TEXT PRIMARY KEY,
  picture BLOB NOT NULL,        -- canonical CBOR, as in a body
  at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Hubs whose notices stand here: a name and a colour to tell them apart.
CREATE TABLE origin (
  hub    BLOB PRIMARY KEY,
  name   TEXT NOT NULL,
  colour TEXT NOT NULL
) STRICT, WITHOUT ROWID;
