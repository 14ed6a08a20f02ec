-- With all columns that the questions want: otherwise those by repository and target are answered from the primary key,
-- by reading every reference of the repository, and those by repository and digest by reading every tag.
DROP INDEX manifest_references_by_target;
CREATE INDEX manifest_references_by_target ON manifest_references (target, repository_id, manifest, kind);
DROP INDEX tags_by_digest;
CREATE INDEX tags_by_digest ON tags (repository_id, digest, name);
-- The sweep asks for each leftover file whose it is.
CREATE INDEX uploads_by_ingest ON uploads (ingest) WHERE ingest IS NOT NULL;
