-- The catalogue, as the Canister API reads it: names and types are fixed by others. An earlier
-- Canister may have made these tables, with rows in them: they stay, and leave with the first
-- publication of their source.

CREATE TABLE IF NOT EXISTS public.repository (
    id varchar PRIMARY KEY NOT NULL,
    aliases varchar[] DEFAULT '{}',
    visible boolean NOT NULL DEFAULT true,
    quality integer NOT NULL,
    package_count bigint NOT NULL DEFAULT 0,
    sections varchar[] DEFAULT '{}',
    bootstrap boolean NOT NULL DEFAULT false,
    uri varchar NOT NULL,
    suite varchar NOT NULL DEFAULT './',
    component varchar,
    name varchar,
    version varchar,
    description varchar,
    date timestamp,
    payment_gateway varchar,
    sileo_endpoint varchar,
    origin_hostname varchar NOT NULL,
    origin_release_path varchar NOT NULL,
    origin_release_hash varchar NOT NULL,
    origin_packages_path varchar NOT NULL,
    origin_packages_hash varchar NOT NULL,
    origin_last_updated timestamp NOT NULL,
    origin_has_in_release boolean NOT NULL,
    origin_has_release_gpg boolean NOT NULL,
    origin_supports_payment_v1 boolean NOT NULL,
    origin_supports_payment_v2 boolean NOT NULL,
    origin_uses_https boolean NOT NULL
);

CREATE TABLE IF NOT EXISTS public.package (
    id varchar PRIMARY KEY NOT NULL,
    package_id varchar NOT NULL,
    latest_version boolean NOT NULL DEFAULT false,
    visible boolean NOT NULL DEFAULT true,
    quality integer NOT NULL,
    repository_id varchar NOT NULL,
    price varchar NOT NULL,
    version varchar NOT NULL,
    architecture varchar NOT NULL,
    package_filename varchar NOT NULL,
    package_size bigint NOT NULL,
    sha256_hash varchar,
    name varchar,
    description varchar,
    author varchar,
    maintainer varchar,
    depiction varchar,
    native_depiction varchar,
    sileo_depiction varchar,
    header_url varchar,
    tint_color varchar,
    icon_url varchar,
    section varchar,
    tags varchar[] DEFAULT '{}',
    installed_size bigint
);

-- What an earlier Canister indexed. The first can't hold a long package id (a B-tree's entry has
-- 2,704 bytes at most), so one hostile package would make its source unpublishable; the others
-- are of no use to any query and cost every publication.
DROP INDEX IF EXISTS public.package_id;
DROP INDEX IF EXISTS public.visible_package;
DROP INDEX IF EXISTS public.latest_version;
DROP INDEX IF EXISTS public.quality_package;
DROP INDEX IF EXISTS public.repository_id;

-- Columns that the arbiter adds for itself. A row without a digest was not written by an arbiter.
ALTER TABLE public.package
    ADD COLUMN digest bytea CHECK (octet_length(digest) = 16),
    ADD COLUMN version_key bytea,
    -- When the package left the index of its source, in milliseconds since 1970; live until then.
    ADD COLUMN left_at bigint,
    ADD CONSTRAINT package_written CHECK ((digest IS NULL) = (version_key IS NULL)),
    ADD CONSTRAINT package_left CHECK (left_at IS NULL OR NOT (visible OR latest_version));

-- A row holds at most 128 KiB of text, of which a tsvector (1 MiB at most) always has room. Words
-- of 2 KiB and more are left out of it by PostgreSQL.
ALTER TABLE public.package
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('simple'::regconfig, coalesce(name, '')), 'A')
        || setweight(to_tsvector('simple'::regconfig, package_id), 'A')
        || setweight(to_tsvector('simple'::regconfig, coalesce(author, '')), 'B')
        || setweight(to_tsvector('simple'::regconfig, coalesce(description, '')), 'C')
    ) STORED;

-- Texts as one, for a generated column: array_to_string by itself is not declared immutable,
-- because it isn't for arrays of other things than texts.
CREATE FUNCTION public.canister_words(texts varchar[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.array_to_string(texts, ' ') $$;

ALTER TABLE public.repository
    ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('simple'::regconfig, coalesce(name, '')), 'A')
        || setweight(to_tsvector('simple'::regconfig, id), 'A')
        || setweight(to_tsvector('simple'::regconfig,
            coalesce(public.canister_words(aliases), '')), 'B')
        || setweight(to_tsvector('simple'::regconfig, coalesce(description, '')), 'C')
    ) STORED;

CREATE INDEX package_search ON public.package USING gin (search_vector);
CREATE INDEX repository_search ON public.repository USING gin (search_vector);
-- Equal or not is all that is asked of a package id, and a hash has room for any.
CREATE INDEX package_lookup ON public.package USING hash (package_id);
CREATE INDEX repository_ranking ON public.repository (quality);
-- What a repository shows.
CREATE INDEX package_shown ON public.package (repository_id) WHERE visible;
-- What a peer already knows of its source, in pages.
CREATE INDEX package_known ON public.package (repository_id, digest) WHERE left_at IS NULL;
-- What an earlier Canister left of a source: nothing, soon.
CREATE INDEX package_unwritten ON public.package (repository_id)
    WHERE left_at IS NULL AND digest IS NULL;
-- All versions of one package, to find the latest; whether a section is left without packages.
-- By hashes, for neither text has a limit that a B-tree could keep.
CREATE INDEX package_versions ON public.package
    (repository_id, hashtextextended(package_id, 0)) WHERE left_at IS NULL;
CREATE INDEX package_sections ON public.package
    (repository_id, hashtextextended(section, 0)) WHERE left_at IS NULL;
