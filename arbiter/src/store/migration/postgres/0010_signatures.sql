-- How a source was signed when it was last read: the words of `SignatureState`, the signer's key and
-- when that ends. Whoever signed it is expected to sign it again.
ALTER TABLE arbiter.source
    ADD COLUMN signature text,
    ADD COLUMN signed_by text,
    ADD COLUMN signed_until bigint,
    ADD CONSTRAINT source_signed CHECK ((signature IS NULL) = (signed_by IS NULL));

-- The signer's key in base64, for peers to check by; apart, for it is long.
CREATE TABLE arbiter.keyring (
    slug text NOT NULL PRIMARY KEY REFERENCES arbiter.source (slug),
    keys text NOT NULL
);

-- What a source's server was asked for in vain.
CREATE TABLE arbiter.absent (
    slug text NOT NULL REFERENCES arbiter.source (slug),
    file text NOT NULL,
    asked_at bigint NOT NULL,
    PRIMARY KEY (slug, file)
);

-- The key by which it was checked that the repository is its signer's.
ALTER TABLE public.repository ADD COLUMN origin_signed_by varchar;
