-- With the number of bytes, so that uploads without any are counted by the index alone.
DROP INDEX uploads_by_touched_at;
CREATE INDEX uploads_by_touched_at ON uploads (touched_at, received);
