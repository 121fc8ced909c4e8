-- The file share. Collections and files are records like notices; how an upload stands, what a device
-- brought today and what a scrub found are local truth.

-------------------------------------------------------------------------------------- projections
CREATE TABLE collection (
  key        INTEGER PRIMARY KEY,
  obj        BLOB NOT NULL,
  public_id  TEXT NOT NULL,
  record     INTEGER NOT NULL REFERENCES record (n),
  state      INTEGER NOT NULL,
  shown_ms   INTEGER NOT NULL,
  edited_ms  INTEGER,
  changed_ms INTEGER NOT NULL,
  exp_ms     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX collection_obj ON collection (obj);

CREATE TABLE file (
  key        INTEGER PRIMARY KEY,
  obj        BLOB NOT NULL,
  public_id  TEXT NOT NULL,
  collection BLOB NOT NULL,     -- the collection's obj, which may not have arrived yet
  record     INTEGER NOT NULL REFERENCES record (n),
  state      INTEGER NOT NULL,
  shown_ms   INTEGER NOT NULL,
  edited_ms  INTEGER,
  changed_ms INTEGER NOT NULL,
  exp_ms     INTEGER NOT NULL,
  name_key   TEXT NOT NULL,     -- its name as names are compared; '' once erased
  sha256     BLOB,              -- its own bytes; NULL once erased
  size       INTEGER NOT NULL   -- of those bytes; 0 once erased
) STRICT;
CREATE UNIQUE INDEX file_obj ON file (obj);
CREATE INDEX file_collection ON file (collection, key);
CREATE INDEX file_size ON file (size);

-- 1: the object's own bytes, which are served as a file and never as a picture of the hub's own making.
ALTER TABLE blob_use ADD COLUMN own INTEGER NOT NULL DEFAULT 0;

-------------------------------------------------------------------------------------- local truth
-- A file on its way in, in pieces: bytes up to "offset" are on the card (hub/storage/incoming.py).
CREATE TABLE upload (
  token    TEXT PRIMARY KEY,
  device   BLOB,                -- keyed hash of the device cookie; NULL: a caretaker
  name     TEXT NOT NULL,       -- as it is shown
  size     INTEGER NOT NULL,    -- of the whole
  offset   INTEGER NOT NULL,
  at_ms    INTEGER NOT NULL,    -- when it last moved
  sha256   BLOB,                -- these three once it is whole
  pieces   BLOB,
  crc32    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_device ON upload (device) WHERE device IS NOT NULL;

-- What a device brought in a day (days since 1970), for its quota.
CREATE TABLE brought (
  device BLOB NOT NULL,
  day    INTEGER NOT NULL,
  bytes  INTEGER NOT NULL,
  files  INTEGER NOT NULL,
  PRIMARY KEY (device, day)
) STRICT, WITHOUT ROWID;

-- CRC-32 of blobs, which a ZIP has to name before their bytes.
CREATE TABLE checksum (
  sha256 BLOB PRIMARY KEY,
  crc32  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the slow look at every blob has come: one row.
CREATE TABLE scrub (
  began_ms INTEGER,
  ended_ms INTEGER,             -- of the last one that came to its end
  position TEXT NOT NULL,       -- blobs up to this name were looked at
  looked   INTEGER NOT NULL,
  bytes    INTEGER NOT NULL
) STRICT;
INSERT INTO scrub VALUES (NULL, NULL, '', 0, 0);

-- Blobs whose bytes are not what their name says; moved aside, to be fetched again.
CREATE TABLE quarantine (
  sha256   BLOB PRIMARY KEY,
  found_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
