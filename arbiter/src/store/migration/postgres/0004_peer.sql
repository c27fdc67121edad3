-- The peers' own door: all that a peer's role may do is to call these two functions. They run with
-- the rights of their owner and know who calls by the name it logged in with, which its
-- certificate says and which no statement of its changes.
--
-- docs/protocol.md, "Direct writes", is their specification.

CREATE SCHEMA peer;

-- How the peer writes its rows, as it says.
ALTER TABLE arbiter.peer ADD COLUMN writes text;

-- The digests that the catalogue has of the source of the peer's lease, ascending.
CREATE FUNCTION peer.known(lease bigint) RETURNS SETOF bytea
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM arbiter.known(session_user::text, lease, arbiter.now(), '', 4000000) $$;

-- Puts rows under the peer's lease, an element of each array a row: at most 4,000 of them, their
-- arrays at most 4 MiB as PostgreSQL holds them. Returns how many were not there yet.
CREATE FUNCTION peer.put(
    lease bigint,
    package_id text[], version text[], architecture text[], package_filename text[], price text[],
    sha256_hash text[], name text[], description text[], author text[], maintainer text[],
    depiction text[], native_depiction text[], sileo_depiction text[], header_url text[],
    tint_color text[], icon_url text[], section text[],
    tags text[], package_size bigint[], installed_size bigint[], version_key bytea[]
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size CONSTANT integer := pg_column_size(package_id) + pg_column_size(version)
        + pg_column_size(architecture) + pg_column_size(package_filename) + pg_column_size(price)
        + pg_column_size(sha256_hash) + pg_column_size(name) + pg_column_size(description)
        + pg_column_size(author) + pg_column_size(maintainer) + pg_column_size(depiction)
        + pg_column_size(native_depiction) + pg_column_size(sileo_depiction)
        + pg_column_size(header_url) + pg_column_size(tint_color) + pg_column_size(icon_url)
        + pg_column_size(section) + pg_column_size(tags) + pg_column_size(package_size)
        + pg_column_size(installed_size) + pg_column_size(version_key);
    rows CONSTANT integer := cardinality(package_id);
BEGIN
    IF size IS NULL OR NOT (rows = ALL (ARRAY[
        cardinality(version), cardinality(architecture), cardinality(package_filename),
        cardinality(price), cardinality(sha256_hash), cardinality(name), cardinality(description),
        cardinality(author), cardinality(maintainer), cardinality(depiction),
        cardinality(native_depiction), cardinality(sileo_depiction), cardinality(header_url),
        cardinality(tint_color), cardinality(icon_url), cardinality(section), cardinality(tags),
        cardinality(package_size), cardinality(installed_size), cardinality(version_key)]))
    THEN
        RAISE EXCEPTION 'an array is missing, or is of another length than the others'
            USING ERRCODE = 'CN001';
    END IF;
    IF rows > 4000 OR size > 4194304 THEN
        RAISE EXCEPTION '% rows of % bytes, at most 4000 of 4194304 are taken at once', rows, size
            USING ERRCODE = 'CN001';
    END IF;
    RETURN arbiter.put(session_user::text, lease, arbiter.now(),
        package_id, version, architecture, package_filename, package_size, price, sha256_hash,
        name, description, author, maintainer, depiction, native_depiction, sileo_depiction,
        header_url, tint_color, icon_url, section, tags, installed_size, version_key);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA peer FROM PUBLIC;

-- Whoever may log in may LISTEN and NOTIFY. So what the arbiters tell each other goes through a
-- channel whose name only they can read: a peer neither hears of others nor speaks for them.
CREATE TABLE arbiter.channel (name text NOT NULL);
INSERT INTO arbiter.channel SELECT 'canister_' || replace(gen_random_uuid()::text, '-', '');

-- Whoever may connect may make temporary tables, and in old databases also tables: no peer may.
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
