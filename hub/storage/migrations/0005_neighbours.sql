-- Neighbouring hubs. The sets are a projection of the log; everything below them is local truth.

------------------------------------------------------------------------------------------ the sets
-- What is reconciled with neighbours: one set for each stream of what the network shares, and for each
-- origin's stream of what it tells its own neighbours (origin '' is the network). A set keeps its number.
CREATE TABLE shared_set (
  n      INTEGER PRIMARY KEY,
  stream TEXT NOT NULL,
  origin BLOB NOT NULL,
  UNIQUE (stream, origin)
) STRICT;

CREATE TABLE set_item (
  shared_set INTEGER NOT NULL,
  ts         INTEGER NOT NULL,    -- the record's stamp in milliseconds
  id         BLOB NOT NULL,
  n          INTEGER NOT NULL,    -- the record
  leaves     INTEGER NOT NULL,    -- the week in which it leaves the set, computed from the record alone
  PRIMARY KEY (shared_set, ts, id)
) STRICT, WITHOUT ROWID;

-- Sums of runs of items: a block holds what is from its key up to the next block's. The first begins at
-- (0, ''). The last has no sum: a new record would have to change it, and it is quickly made.
CREATE TABLE set_block (
  shared_set INTEGER NOT NULL,
  ts         INTEGER NOT NULL,
  id         BLOB NOT NULL,
  count      INTEGER,
  sum        BLOB,                -- 32 bytes, little-endian
  PRIMARY KEY (shared_set, ts, id)
) STRICT, WITHOUT ROWID;

-- Local truth, one row: what leaves in this week or before it is in no set. NULL: the sets are to be made.
CREATE TABLE set_week (week INTEGER) STRICT;
INSERT INTO set_week VALUES (NULL);

-- The highest place in the log that was given up: none is given twice (hub/storage/log_index.py).
CREATE TABLE record_end (n INTEGER NOT NULL) STRICT;
INSERT INTO record_end VALUES (0);
CREATE TRIGGER record_dropped AFTER DELETE ON record
WHEN old.n > max(coalesce((SELECT max(n) FROM record), 0), (SELECT n FROM record_end)) BEGIN
  UPDATE record_end SET n = old.n;
END;

-- What hubs, this one too, say of themselves and of what they erased: their newest status.
CREATE TABLE hub_status (
  hub       BLOB PRIMARY KEY,
  version   TEXT NOT NULL,
  quality   INTEGER NOT NULL,
  erased    INTEGER NOT NULL,     -- erasures it carried out, of the last 90 days
  named     BLOB NOT NULL,        -- the newest of them, 8 bytes each
  at_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Erasures that concern other hubs, to be named in this hub's status.
CREATE TABLE retraction (
  obj    BLOB NOT NULL,
  id     BLOB NOT NULL,           -- the record
  origin BLOB NOT NULL,
  scope  TEXT NOT NULL,
  ts     INTEGER NOT NULL,        -- its stamp in milliseconds
  PRIMARY KEY (obj, id)
) STRICT, WITHOUT ROWID;

---------------------------------------------------------------------------------------- neighbours
CREATE TABLE neighbour (
  hub         BLOB PRIMARY KEY,   -- its name and colour stand in "origin"
  certificate BLOB NOT NULL,      -- DER; its key is the hub's
  tie         TEXT NOT NULL,      -- 'paired', 'paused', 'parted' (an archive), 'removing', 'removed'
  choices     TEXT NOT NULL,      -- JSON: what this hub's caretaker chose, by stream
  theirs      TEXT NOT NULL,      -- JSON: what theirs chose, as last heard
  paired_ms   INTEGER NOT NULL,
  heard_ms    INTEGER,            -- when it last answered
  swapped_ms  INTEGER,            -- when both last held the same
  trouble     TEXT NOT NULL DEFAULT '',  -- code of the last error
  protocol    INTEGER NOT NULL DEFAULT 1,
  version     TEXT NOT NULL DEFAULT '',
  offset_ms   INTEGER,            -- its clock against ours, as last heard
  quality     INTEGER NOT NULL DEFAULT 0  -- how far it trusts its clock
) STRICT, WITHOUT ROWID;

CREATE TABLE neighbour_address (
  hub     BLOB NOT NULL,
  host    TEXT NOT NULL,
  port    INTEGER NOT NULL,
  origin  TEXT NOT NULL,          -- 'typed', 'heard' (mDNS), 'told' (by a neighbour), 'met' (it called)
  good_ms INTEGER,                -- when it last worked
  PRIMARY KEY (hub, host, port)
) STRICT, WITHOUT ROWID;

-- Which hubs have told that they carried out an erasure, and when: a status names only the newest.
CREATE TABLE receipt (
  retraction BLOB NOT NULL,       -- first 8 bytes of the record's id
  hub        BLOB NOT NULL,
  at_ms      INTEGER NOT NULL,
  PRIMARY KEY (retraction, hub)
) STRICT, WITHOUT ROWID;

-- Hubs whose records are taken: who brought their first one ('': a caretaker let it in), and on which day
-- (days since 1970).
CREATE TABLE known_origin (
  hub        BLOB PRIMARY KEY,
  introduced BLOB NOT NULL,
  since_day  INTEGER NOT NULL,
  records    INTEGER NOT NULL DEFAULT 0   -- that the log has of it
) STRICT, WITHOUT ROWID;
CREATE INDEX known_origin_introduced ON known_origin (introduced, since_day);

-- What a neighbour (or a stick, '') brought of each origin in a day (days since 1970).
CREATE TABLE delivered (
  neighbour BLOB NOT NULL,
  day       INTEGER NOT NULL,
  origin    BLOB NOT NULL,
  records   INTEGER NOT NULL,
  bytes     INTEGER NOT NULL,
  PRIMARY KEY (neighbour, day, origin)
) STRICT, WITHOUT ROWID;

-- Records that were verified and have to wait: they came from the future, or there were too many.
CREATE TABLE waiting_record (
  n          INTEGER PRIMARY KEY,
  id         BLOB NOT NULL,
  neighbour  BLOB NOT NULL,       -- who brought it; '': a stick
  origin     BLOB NOT NULL,
  obj        BLOB NOT NULL,
  reason     TEXT NOT NULL,       -- 'future', 'quota', 'stranger', 'fork'
  ts         INTEGER NOT NULL,
  arrived_ms INTEGER NOT NULL,
  header     BLOB NOT NULL,
  signature  BLOB NOT NULL,
  body       BLOB
) STRICT;
CREATE UNIQUE INDEX waiting_record_id ON waiting_record (id);
CREATE INDEX waiting_record_obj ON waiting_record (obj);
CREATE INDEX waiting_record_neighbour ON waiting_record (neighbour, reason);

-- Sequence numbers of other hubs, and of this one's own earlier epochs: two records with one number mean
-- that two hubs write with one key.
CREATE TABLE origin_epoch (
  n         INTEGER PRIMARY KEY,
  hub       BLOB NOT NULL,
  epoch     BLOB NOT NULL,
  forked_ms INTEGER,              -- when that was noticed
  decided   TEXT NOT NULL DEFAULT '',  -- '': frozen, 'moved': both are taken, 'new': nothing more is
  UNIQUE (hub, epoch)
) STRICT;
CREATE TABLE origin_sequence (
  origin_epoch INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  record       INTEGER NOT NULL,
  PRIMARY KEY (origin_epoch, seq)
) STRICT, WITHOUT ROWID;

-- Blobs that other hubs' records name and that may not be here. Two records may say different things of
-- one blob; who is right is seen when it comes.
CREATE TABLE missing_blob (
  n        INTEGER PRIMARY KEY,
  sha256   BLOB NOT NULL,
  size     INTEGER NOT NULL,
  pieces   BLOB NOT NULL,       -- hash of the list of its pieces' hashes
  asked_ms INTEGER,             -- when somebody here asked for it; NULL: nobody has
  state    INTEGER NOT NULL DEFAULT 0, -- 1: was here and gave way to others, 2: found to contradict itself
  UNIQUE (sha256, size, pieces)
) STRICT;

-- The hashes of the pieces of blobs that have more than one, for neighbours who ask.
CREATE TABLE piece_list (
  sha256 BLOB PRIMARY KEY,
  hashes BLOB NOT NULL
) STRICT;

-- Blobs of other hubs that are here: what may go when there is no room, the least used first.
CREATE TABLE foreign_blob (
  sha256  BLOB PRIMARY KEY,
  size    INTEGER NOT NULL,
  used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-------------------------------------------------------------------------------------------- advice
-- What hubs, this one too, advise their neighbours: flags, and the entries of block lists. Of the log.
CREATE TABLE flag (
  obj    BLOB NOT NULL,           -- the flag's own
  hub    BLOB NOT NULL,           -- who says so
  target BLOB NOT NULL,
  reason TEXT NOT NULL,
  rule   INTEGER NOT NULL,
  at_ms  INTEGER NOT NULL,
  exp_ms INTEGER NOT NULL,
  PRIMARY KEY (obj, hub)
) STRICT, WITHOUT ROWID;
CREATE INDEX flag_target ON flag (target);

CREATE TABLE block_entry (
  hub    BLOB NOT NULL,
  kind   TEXT NOT NULL,           -- 'hub', 'object', 'blob'
  what   BLOB NOT NULL,
  at_ms  INTEGER NOT NULL,
  exp_ms INTEGER NOT NULL,
  PRIMARY KEY (hub, kind, what)
) STRICT, WITHOUT ROWID;

-- Local truth: what this hub's caretakers put on its own list, whose lists they let hide things here, and
-- what was hidden by them once: a caretaker who shows it again is not overruled.
CREATE TABLE blocked (
  kind  TEXT NOT NULL,
  what  BLOB NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, what)
) STRICT, WITHOUT ROWID;
CREATE TABLE followed (hub BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE advice_taken (obj BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
