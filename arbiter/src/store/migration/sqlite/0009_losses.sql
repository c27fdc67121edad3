-- Every operator has a row, also one that no lease of ended yet.
CREATE TABLE operator_new (
    name TEXT NOT NULL PRIMARY KEY,
    last_lease_ended INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO operator_new SELECT * FROM operator;
INSERT OR IGNORE INTO operator_new (name) SELECT operator FROM source;
DROP TABLE operator;
ALTER TABLE operator_new RENAME TO operator;

-- How much is staged under each lease: apart from it, as on PostgreSQL.
CREATE TABLE staged (
    token INTEGER NOT NULL PRIMARY KEY REFERENCES lease (token) ON DELETE CASCADE,
    put INTEGER NOT NULL DEFAULT 0,
    put_bytes INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO staged SELECT token, put, put_bytes, dropped FROM lease;
ALTER TABLE lease DROP COLUMN put;
ALTER TABLE lease DROP COLUMN put_bytes;
ALTER TABLE lease DROP COLUMN dropped;

-- Packages of a source that the catalogue has, by name: what the brake counts.
ALTER TABLE source ADD COLUMN names INTEGER NOT NULL DEFAULT 0;
UPDATE source SET names = (SELECT count(DISTINCT package_id) FROM package
    WHERE repository_id = slug AND left_at IS NULL);

-- What left within the last day without the operator's word, by name: what the brake adds up.
CREATE TABLE loss (
    slug TEXT NOT NULL,
    lost INTEGER NOT NULL,
    lost_at INTEGER NOT NULL
) STRICT;
