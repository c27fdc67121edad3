-- How rows get into staging, whoever brings them: an arbiter that relays, or a peer that writes
-- itself through a function that says who it is. A peer is not trusted: who holds the lease, what
-- a row may be, its id and its digest are decided here. Only version_key is taken as it comes: it
-- sorts the versions of the lease's own source and nothing else.
--
-- Refusals have the SQLSTATE CN001, and their text is for the peer.

-- The moment, in milliseconds since 1970.
CREATE FUNCTION arbiter.now() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- 16 bytes as 26 characters of Crockford's base32; two zero bits stand first.
CREATE FUNCTION arbiter.crockford(bytes bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    a CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    v bigint := get_byte(bytes, 0);
    t text := substr(a, 1 + (v >> 5)::int, 1) || substr(a, 1 + (v & 31)::int, 1);
BEGIN
    FOR five IN 0..2 LOOP
        v := ('x' || encode(substring(bytes FROM 2 + 5 * five FOR 5), 'hex'))::bit(40)::bigint;
        t := t || substr(a, 1 + (v >> 35)::int, 1) || substr(a, 1 + (v >> 30 & 31)::int, 1)
            || substr(a, 1 + (v >> 25 & 31)::int, 1) || substr(a, 1 + (v >> 20 & 31)::int, 1)
            || substr(a, 1 + (v >> 15 & 31)::int, 1) || substr(a, 1 + (v >> 10 & 31)::int, 1)
            || substr(a, 1 + (v >> 5 & 31)::int, 1) || substr(a, 1 + (v & 31)::int, 1);
    END LOOP;
    RETURN t;
END
$$;

-- Stages rows under the lease `_token` of `_peer`, in their order, and returns how many of them
-- were not staged yet. A row whose id is staged already is left out: repeating a call changes
-- nothing. All arrays are of one length, one element a row. The elements of `_tags` are a row's
-- tags in one text, each with U+001F before it; the empty text is no tags. `_now` is the moment.
--
-- Limits are the protocol's and the store's: 128 KiB of text and 256 tags a row, 4,000,000 rows
-- and 2 GiB of text a lease.
CREATE FUNCTION arbiter.put(
    _peer text, _token bigint, _now bigint,
    _package_id text[], _version text[], _architecture text[], _package_filename text[],
    _package_size bigint[], _price text[], _sha256_hash text[], _name text[],
    _description text[], _author text[], _maintainer text[], _depiction text[],
    _native_depiction text[], _sileo_depiction text[], _header_url text[], _tint_color text[],
    _icon_url text[], _section text[], _tags text[], _installed_size bigint[],
    _version_key bytea[]
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    rows_max CONSTANT bigint := 4000000;
    bytes_max CONSTANT bigint := 2147483648;
    -- What the encoding of a row has besides its texts: separators, marks of missing fields, two
    -- numbers.
    row_max CONSTANT integer := 131072 + 256 + 18 + 14 + 38;
    staged_put bigint;
    staged_bytes bigint;
    here_slug text;
    wrong text;
    put_now bigint;
    bytes_now bigint;
BEGIN
    -- Locked first, and looked at after it: whoever ends the lease takes this row away.
    SELECT put, put_bytes INTO staged_put, staged_bytes
        FROM arbiter.staged WHERE token = _token FOR UPDATE;
    SELECT slug INTO here_slug
        FROM arbiter.lease WHERE token = _token AND peer = _peer AND expires_at > _now;
    IF staged_put IS NULL OR here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;

    -- The encoding of a row: its texts and numbers in this order, parted by U+001F, U+001E for a
    -- missing one, then its tags. No field may have control characters, so it is like no other's.
    WITH given AS MATERIALIZED (
        SELECT *, concat_ws(E'\x1f', package_id, version, architecture, package_filename, price,
                coalesce(sha256_hash, E'\x1e'), coalesce(name, E'\x1e'),
                coalesce(description, E'\x1e'), coalesce(author, E'\x1e'),
                coalesce(maintainer, E'\x1e'), coalesce(depiction, E'\x1e'),
                coalesce(native_depiction, E'\x1e'), coalesce(sileo_depiction, E'\x1e'),
                coalesce(header_url, E'\x1e'), coalesce(tint_color, E'\x1e'),
                coalesce(icon_url, E'\x1e'), coalesce(section, E'\x1e'), package_size::text,
                coalesce(installed_size::text, E'\x1e')) || tags AS encoding
        FROM unnest(_package_id, _version, _architecture, _package_filename, _package_size,
            _price, _sha256_hash, _name, _description, _author, _maintainer, _depiction,
            _native_depiction, _sileo_depiction, _header_url, _tint_color, _icon_url, _section,
            _tags, _installed_size, _version_key)
        AS given (package_id, version, architecture, package_filename, package_size, price,
            sha256_hash, name, description, author, maintainer, depiction, native_depiction,
            sileo_depiction, header_url, tint_color, icon_url, section, tags, installed_size,
            version_key)
    ), checked AS MATERIALIZED (
        SELECT *, CASE
            WHEN encoding IS NULL OR package_id IS NULL OR version IS NULL
                OR architecture IS NULL OR package_filename IS NULL OR package_size IS NULL
                OR price IS NULL OR tags IS NULL OR version_key IS NULL
                THEN 'a field is missing'
            WHEN package_id = '' OR version = '' OR architecture = '' OR price = ''
                THEN 'a field is empty'
            WHEN package_size < 0 OR installed_size < 0
                THEN 'a size is negative'
            WHEN octet_length(encoding) > row_max
                THEN octet_length(encoding) || ' bytes, at most 131072'
            WHEN octet_length(version_key) > 3 * octet_length(version) + 16
                THEN 'its version key is too long'
            WHEN array_length(string_to_array(tags, E'\x1f'), 1) > 257
                THEN array_length(string_to_array(tags, E'\x1f'), 1) - 1
                    || ' tags, at most 256'
            WHEN tags <> '' AND left(tags, 1) <> E'\x1f'
                THEN 'its tags have no U+001F before them'
            -- (A regular expression is much faster here than translate.)
            WHEN concat(package_id, version, architecture, package_filename, price,
                    sha256_hash, name, description, author, maintainer, depiction,
                    native_depiction, sileo_depiction, header_url, tint_color, icon_url, section,
                    replace(tags, E'\x1f', ''))
                ~ E'[\x01-\x08\x0b-\x1f\x7f]'
                THEN 'has a control character'
            END AS fault
        FROM given
    ), inserted AS (
        INSERT INTO arbiter.staging (token, id, digest, version_key, package_id, version,
            architecture, package_filename, package_size, price, sha256_hash, name, description,
            author, maintainer, depiction, native_depiction, sileo_depiction, header_url,
            tint_color, icon_url, section, tags, installed_size)
        SELECT _token,
            arbiter.crockford(substring(sha256(convert_to(concat_ws(E'\x1f', here_slug,
                package_id, version, architecture), 'UTF8')) FROM 1 FOR 16)),
            substring(sha256(convert_to(encoding, 'UTF8')) FROM 1 FOR 16),
            version_key, package_id, version, architecture, package_filename, package_size,
            price, sha256_hash, name, description, author, maintainer, depiction,
            native_depiction, sileo_depiction, header_url, tint_color, icon_url, section,
            (string_to_array(tags, E'\x1f'))[2:], installed_size
        FROM checked
        WHERE NOT EXISTS (SELECT FROM checked WHERE fault IS NOT NULL)
        ON CONFLICT (token, id) DO NOTHING
        RETURNING octet_length(concat(package_id, version, architecture, package_filename, price,
            sha256_hash, name, description, author, maintainer, depiction, native_depiction,
            sileo_depiction, header_url, tint_color, icon_url, section,
            array_to_string(tags, ''))) AS bytes
    )
    SELECT (SELECT format('row of %L: %s', left(package_id, 80), fault)
                FROM checked WHERE fault IS NOT NULL LIMIT 1),
            count(*), coalesce(sum(bytes), 0)
        INTO wrong, put_now, bytes_now
        FROM inserted;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'CN001';
    END IF;
    staged_put := staged_put + put_now;
    staged_bytes := staged_bytes + bytes_now;
    IF staged_put > rows_max OR staged_bytes > bytes_max THEN
        RAISE EXCEPTION '% rows of % bytes put under lease %, at most % of % are taken',
            staged_put, staged_bytes, _token, rows_max, bytes_max
            USING ERRCODE = 'CN001';
    END IF;
    IF put_now > 0 THEN
        UPDATE arbiter.staged SET put = staged_put, put_bytes = staged_bytes
            WHERE token = _token;
    END IF;
    RETURN put_now;
END
$$;

-- Digests of the live packages of the lease's source, ascending, at most `_most` of them and all
-- above `_after` (the empty string is below all). Fewer than `_most` means that there are no more.
CREATE FUNCTION arbiter.known(
    _peer text, _token bigint, _now bigint, _after bytea, _most bigint
) RETURNS SETOF bytea
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- In the order of the index, whatever is known of the table: a page costs a page, not the source.
SET enable_sort = off
SET enable_bitmapscan = off
SET enable_seqscan = off
AS $$
DECLARE
    here_slug text;
BEGIN
    SELECT slug INTO here_slug
        FROM arbiter.lease WHERE token = _token AND peer = _peer AND expires_at > _now;
    IF here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;
    RETURN QUERY
        SELECT digest FROM public.package
        WHERE repository_id = here_slug AND left_at IS NULL AND digest > _after
        ORDER BY digest LIMIT _most;
END
$$;

-- Nobody calls these but their owner, and what the owner lets others call in its place.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA arbiter FROM PUBLIC;
