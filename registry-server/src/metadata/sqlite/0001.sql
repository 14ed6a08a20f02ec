CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- One row per distinct blob. Small ones are kept here; of the others the bytes are in the blob store.
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    content BLOB
);

-- Which repository holds which blob.
CREATE TABLE repository_blobs (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL REFERENCES blobs (digest),
    linked_at BIGINT NOT NULL,
    protected_until BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);

CREATE TABLE manifests (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    annotations TEXT,
    subject TEXT,
    pushed_at BIGINT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_by_digest ON manifests (digest);

-- What a manifest refers to; kind: blob, manifest, either.
CREATE TABLE manifest_references (
    repository_id BIGINT NOT NULL,
    manifest TEXT NOT NULL,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (repository_id, manifest, target, kind),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX manifest_references_by_target ON manifest_references (target, repository_id);

CREATE TABLE tags (
    repository_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    moved_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX tags_by_digest ON tags (repository_id, digest);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    touched_at BIGINT NOT NULL,
    -- Either the bytes themselves, or the ingest of the blob store that has them.
    content BLOB,
    ingest TEXT,
    received BIGINT NOT NULL,
    hash_state BLOB
);
CREATE INDEX uploads_by_touched_at ON uploads (touched_at);

-- What the collection looks at, and when; kind: manifest, link, blob (then the repository is 0).
CREATE TABLE reviews (
    kind TEXT NOT NULL,
    repository_id BIGINT NOT NULL,
    digest TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (kind, repository_id, digest)
);
CREATE INDEX reviews_by_due_at ON reviews (due_at);
