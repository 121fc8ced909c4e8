-- Each index in random order costs the card a page and more for every post (docs/adr/0010-posts-and-pages.md).
-- One index answers both "the versions of this object" and "is this record here".
DROP INDEX record_id;
DROP INDEX record_obj;
CREATE UNIQUE INDEX record_obj ON record (obj, id);

-- The object's id follows from the key of the form now.
DROP INDEX ownership_form;
ALTER TABLE ownership DROP COLUMN form_key;

-- The WAL is filled with zeros instead.
DROP TABLE wal_growth;
