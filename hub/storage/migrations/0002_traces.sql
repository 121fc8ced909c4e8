-- What was erased, replaced or forgotten may still stand in the search index, in free pages, in the WAL
-- and in picture files: rows until all of it has been wiped (hub/services/erasure.py). They outlast a
-- power cut between the transaction that erased and the wipe.
CREATE TABLE trace (
  due_ms INTEGER,   -- when it has to be gone; NULL: a day after housekeeping first sees it
  sha256 BLOB       -- a picture whose file goes too, unless something else names it
) STRICT;
