-- What paid packages cost, as their source's shop said when it was last asked.
CREATE TABLE price (
    slug TEXT NOT NULL REFERENCES source (slug),
    package_id TEXT NOT NULL CHECK (package_id <> ''),
    price TEXT NOT NULL CHECK (price <> ''),
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (slug, package_id)
) STRICT, WITHOUT ROWID;
