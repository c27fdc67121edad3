-- Staging that is cheap to write. Nobody sees it before it is published, so a crash of the server may take it:
-- rows, digests and counts go together then, and under a lease without counts nothing is put, dropped or
-- published.
ALTER TABLE arbiter.staging SET UNLOGGED;
ALTER TABLE arbiter.staging_dropped SET UNLOGGED;
ALTER TABLE arbiter.staged SET UNLOGGED;
-- A row that was put twice is there twice until it is published: then, of those with one id, the first counts.
ALTER TABLE arbiter.staging DROP CONSTRAINT staging_pkey;
ALTER TABLE arbiter.staging ADD COLUMN place bigint NOT NULL DEFAULT 0;
CREATE INDEX staging_lease ON arbiter.staging (token);

-- As before, by a table of digits. (Both call nothing that isn't IMMUTABLE and aren't STRICT, so that they are put in
-- where they are called.)
CREATE FUNCTION arbiter.crockford_digit(value integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT chr(get_byte('0123456789ABCDEFGHJKMNPQRSTVWXYZ'::bytea, value)) $$;
CREATE OR REPLACE FUNCTION arbiter.crockford(bytes bytea) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT
    arbiter.crockford_digit(get_byte(bytes, 0) >> 5)
    || arbiter.crockford_digit(get_byte(bytes, 0) & 31)
    || arbiter.crockford_digit(get_byte(bytes, 1) >> 3)
    || arbiter.crockford_digit(((get_byte(bytes, 1) & 7) << 2) | (get_byte(bytes, 2) >> 6))
    || arbiter.crockford_digit((get_byte(bytes, 2) >> 1) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 2) & 1) << 4) | (get_byte(bytes, 3) >> 4))
    || arbiter.crockford_digit(((get_byte(bytes, 3) & 15) << 1) | (get_byte(bytes, 4) >> 7))
    || arbiter.crockford_digit((get_byte(bytes, 4) >> 2) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 4) & 3) << 3) | (get_byte(bytes, 5) >> 5))
    || arbiter.crockford_digit(get_byte(bytes, 5) & 31)
    || arbiter.crockford_digit(get_byte(bytes, 6) >> 3)
    || arbiter.crockford_digit(((get_byte(bytes, 6) & 7) << 2) | (get_byte(bytes, 7) >> 6))
    || arbiter.crockford_digit((get_byte(bytes, 7) >> 1) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 7) & 1) << 4) | (get_byte(bytes, 8) >> 4))
    || arbiter.crockford_digit(((get_byte(bytes, 8) & 15) << 1) | (get_byte(bytes, 9) >> 7))
    || arbiter.crockford_digit((get_byte(bytes, 9) >> 2) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 9) & 3) << 3) | (get_byte(bytes, 10) >> 5))
    || arbiter.crockford_digit(get_byte(bytes, 10) & 31)
    || arbiter.crockford_digit(get_byte(bytes, 11) >> 3)
    || arbiter.crockford_digit(((get_byte(bytes, 11) & 7) << 2) | (get_byte(bytes, 12) >> 6))
    || arbiter.crockford_digit((get_byte(bytes, 12) >> 1) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 12) & 1) << 4) | (get_byte(bytes, 13) >> 4))
    || arbiter.crockford_digit(((get_byte(bytes, 13) & 15) << 1) | (get_byte(bytes, 14) >> 7))
    || arbiter.crockford_digit((get_byte(bytes, 14) >> 2) & 31)
    || arbiter.crockford_digit(((get_byte(bytes, 14) & 3) << 3) | (get_byte(bytes, 15) >> 5))
    || arbiter.crockford_digit(get_byte(bytes, 15) & 31)
$$;

-- What is staged under the lease `_token` of `_peer`, and its source; nobody else adds to it until the
-- transaction is over. Locked first, and looked at after it: whoever ends the lease takes that row away.
CREATE FUNCTION arbiter.open_staging(
    _peer text, _token bigint, _now bigint, OUT here_put bigint, OUT here_bytes bigint, OUT here_slug text
) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT put, put_bytes INTO here_put, here_bytes
        FROM arbiter.staged WHERE token = _token FOR UPDATE;
    SELECT slug INTO here_slug
        FROM arbiter.lease WHERE token = _token AND peer = _peer AND expires_at > _now;
    IF here_put IS NULL OR here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;
END
$$;

-- Counts what was added to it.
CREATE FUNCTION arbiter.count_staged(_token bigint, _put bigint, _bytes bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT bigint := 4000000;
    bytes_max CONSTANT bigint := 2147483648;
BEGIN
    IF _put > rows_max OR _bytes > bytes_max THEN
        RAISE EXCEPTION '% rows of % bytes put under lease %, at most % of % are taken',
            _put, _bytes, _token, rows_max, bytes_max
            USING ERRCODE = 'CN001';
    END IF;
    UPDATE arbiter.staged SET put = _put, put_bytes = _bytes WHERE token = _token;
END
$$;

-- As before, but a row that is staged already is staged again; returns how many were.
CREATE OR REPLACE FUNCTION arbiter.put(
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
    -- What the encoding of a row has besides its texts: separators, marks of missing fields, two
    -- numbers.
    row_max CONSTANT integer := 131072 + 256 + 18 + 14 + 38;
    staged record;
    wrong text;
    put_now bigint;
    bytes_now bigint;
BEGIN
    staged := arbiter.open_staging(_peer, _token, _now);

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
            _tags, _installed_size, _version_key) WITH ORDINALITY
        AS given (package_id, version, architecture, package_filename, package_size, price,
            sha256_hash, name, description, author, maintainer, depiction, native_depiction,
            sileo_depiction, header_url, tint_color, icon_url, section, tags, installed_size,
            version_key, place)
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
            END AS fault,
            -- Here, so that it is made once for all digits of an id.
            sha256(convert_to(concat_ws(E'\x1f', staged.here_slug, package_id, version,
                architecture), 'UTF8')) AS hash
        FROM given
    ), inserted AS (
        INSERT INTO arbiter.staging (token, place, id, digest, version_key, package_id, version,
            architecture, package_filename, package_size, price, sha256_hash, name, description,
            author, maintainer, depiction, native_depiction, sileo_depiction, header_url,
            tint_color, icon_url, section, tags, installed_size)
        SELECT _token, staged.here_put + place, arbiter.crockford(hash),
            substring(sha256(convert_to(encoding, 'UTF8')) FROM 1 FOR 16),
            version_key, package_id, version, architecture, package_filename, package_size,
            price, sha256_hash, name, description, author, maintainer, depiction,
            native_depiction, sileo_depiction, header_url, tint_color, icon_url, section,
            (string_to_array(tags, E'\x1f'))[2:], installed_size
        FROM checked
        WHERE NOT EXISTS (SELECT FROM checked WHERE fault IS NOT NULL)
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
    PERFORM arbiter.count_staged(_token, staged.here_put + put_now, staged.here_bytes + bytes_now);
    RETURN put_now;
END
$$;

-- Stages rows that an arbiter has checked, and made ids and digests for; `_bytes` are their texts'.
CREATE FUNCTION arbiter.put_checked(
    _peer text, _token bigint, _now bigint, _bytes bigint, _id text[], _digest bytea[],
    _package_id text[], _version text[], _architecture text[], _package_filename text[],
    _package_size bigint[], _price text[], _sha256_hash text[], _name text[],
    _description text[], _author text[], _maintainer text[], _depiction text[],
    _native_depiction text[], _sileo_depiction text[], _header_url text[], _tint_color text[],
    _icon_url text[], _section text[], _tags text[], _installed_size bigint[],
    _version_key bytea[]
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    staged record;
BEGIN
    staged := arbiter.open_staging(_peer, _token, _now);
    INSERT INTO arbiter.staging (token, place, id, digest, version_key, package_id, version,
        architecture, package_filename, package_size, price, sha256_hash, name, description,
        author, maintainer, depiction, native_depiction, sileo_depiction, header_url,
        tint_color, icon_url, section, tags, installed_size)
    SELECT _token, staged.here_put + given.place, given.id, given.digest, given.version_key,
        given.package_id, given.version, given.architecture, given.package_filename,
        given.package_size, given.price, given.sha256_hash, given.name, given.description,
        given.author, given.maintainer, given.depiction, given.native_depiction,
        given.sileo_depiction, given.header_url, given.tint_color, given.icon_url, given.section,
        (string_to_array(given.tags, E'\x1f'))[2:], given.installed_size
    FROM unnest(_id, _digest, _package_id, _version, _architecture, _package_filename,
        _package_size, _price, _sha256_hash, _name, _description, _author, _maintainer,
        _depiction, _native_depiction, _sileo_depiction, _header_url, _tint_color, _icon_url,
        _section, _tags, _installed_size, _version_key) WITH ORDINALITY
    AS given (id, digest, package_id, version, architecture, package_filename, package_size,
        price, sha256_hash, name, description, author, maintainer, depiction, native_depiction,
        sileo_depiction, header_url, tint_color, icon_url, section, tags, installed_size,
        version_key, place);
    PERFORM arbiter.count_staged(
        _token, staged.here_put + cardinality(_id), staged.here_bytes + _bytes);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA arbiter FROM PUBLIC;
