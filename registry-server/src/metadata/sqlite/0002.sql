-- What happened to manifests and tags. The newest row is never removed, so no number is given twice.
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    repository TEXT NOT NULL,
    action TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT,
    previous TEXT
);
CREATE INDEX events_by_at ON events (at);
