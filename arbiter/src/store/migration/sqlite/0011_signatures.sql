-- How a source was signed when it was last read: the words of `SignatureState`, the signer's key and
-- when that ends. Whoever signed it is expected to sign it again.
ALTER TABLE source ADD COLUMN signature TEXT;
ALTER TABLE source ADD COLUMN signed_by TEXT CHECK ((signature IS NULL) = (signed_by IS NULL));
ALTER TABLE source ADD COLUMN signed_until INTEGER;

-- The signer's key in base64, for peers to check by; apart, for it is long.
CREATE TABLE keyring (
    slug TEXT NOT NULL PRIMARY KEY REFERENCES source (slug),
    keys TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a source's server was asked for in vain.
CREATE TABLE absent (
    slug TEXT NOT NULL REFERENCES source (slug),
    file TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (slug, file)
) STRICT, WITHOUT ROWID;

-- The key by which it was checked that the repository is its signer's.
ALTER TABLE repository ADD COLUMN origin_signed_by TEXT;
