--
-- PostgreSQL database dump
--


-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: arbiter; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA arbiter;


--
-- Name: peer; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA peer;


--
-- Name: bound_staging(); Type: FUNCTION; Schema: arbiter; Owner: -
--

CREATE FUNCTION arbiter.bound_staging() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    bytes_max CONSTANT bigint := 1073741824;
    staged CONSTANT bigint := NEW.put_bytes
        + (SELECT coalesce(sum(put_bytes), 0) FROM arbiter.staged WHERE token <> NEW.token);
BEGIN
    IF staged > bytes_max THEN
        RAISE EXCEPTION '% bytes are staged under all leases, at most % are taken', staged, bytes_max
            USING ERRCODE = 'CN001';
    END IF;
    RETURN NEW;
END
$$;


--
-- Name: caller(); Type: FUNCTION; Schema: arbiter; Owner: -
--

CREATE FUNCTION arbiter.caller() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT coalesce((SELECT peer FROM arbiter.role WHERE name = session_user), session_user) $$;


--
-- Name: crockford(bytea); Type: FUNCTION; Schema: arbiter; Owner: -
--

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


--
-- Name: known(text, bigint, bigint, bytea, bigint); Type: FUNCTION; Schema: arbiter; Owner: -
--

CREATE FUNCTION arbiter.known(_peer text, _token bigint, _now bigint, _after bytea, _most bigint) RETURNS SETOF bytea
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_sort TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    here_slug text;
BEGIN
    SELECT slug INTO here_slug FROM arbiter.lease
        WHERE token = _token AND peer = _peer AND expires_at > _now AND kind <> 'audit';
    IF here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, is an audit, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;
    RETURN QUERY
        SELECT digest FROM arbiter.package
        WHERE repository_id = here_slug AND left_at IS NULL AND digest > _after
        ORDER BY digest LIMIT _most;
END
$$;


--
-- Name: now(); Type: FUNCTION; Schema: arbiter; Owner: -
--

CREATE FUNCTION arbiter.now() RETURNS bigint
    LANGUAGE sql PARALLEL SAFE
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;


--
-- Name: put(text, bigint, bigint, text[], text[], text[], text[], bigint[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], bigint[], bytea[]); Type: FUNCTION; Schema: arbiter; Owner: -
--

CREATE FUNCTION arbiter.put(_peer text, _token bigint, _now bigint, _package_id text[], _version text[], _architecture text[], _package_filename text[], _package_size bigint[], _price text[], _sha256_hash text[], _name text[], _description text[], _author text[], _maintainer text[], _depiction text[], _native_depiction text[], _sileo_depiction text[], _header_url text[], _tint_color text[], _icon_url text[], _section text[], _tags text[], _installed_size bigint[], _version_key bytea[]) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: known(bigint); Type: FUNCTION; Schema: peer; Owner: -
--

CREATE FUNCTION peer.known(lease bigint) RETURNS SETOF bytea
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT * FROM arbiter.known(arbiter.caller(), lease, arbiter.now(), '', 4000000) $$;


--
-- Name: put(bigint, text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bytea[]); Type: FUNCTION; Schema: peer; Owner: -
--

CREATE FUNCTION peer.put(lease bigint, package_id text[], version text[], architecture text[], package_filename text[], price text[], sha256_hash text[], name text[], description text[], author text[], maintainer text[], depiction text[], native_depiction text[], sileo_depiction text[], header_url text[], tint_color text[], icon_url text[], section text[], tags text[], package_size bigint[], installed_size bigint[], version_key bytea[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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
    RETURN arbiter.put(arbiter.caller(), lease, arbiter.now(),
        package_id, version, architecture, package_filename, package_size, price, sha256_hash,
        name, description, author, maintainer, depiction, native_depiction, sileo_depiction,
        header_url, tint_color, icon_url, section, tags, installed_size, version_key);
END
$$;


--
-- Name: canister_words(character varying[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.canister_words(texts character varying[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.array_to_string(texts, ' ') $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: absent; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.absent (
    slug text NOT NULL,
    file text NOT NULL,
    asked_at bigint NOT NULL
);


--
-- Name: advertisement; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.advertisement (
    number bigint NOT NULL,
    cid text NOT NULL,
    body text NOT NULL,
    entries text NOT NULL,
    head text NOT NULL
);


--
-- Name: applicant; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.applicant (
    key text NOT NULL,
    name text NOT NULL,
    request text NOT NULL,
    contact text NOT NULL,
    network text NOT NULL,
    applied_at bigint NOT NULL,
    asked_at bigint NOT NULL,
    answered_at bigint,
    chain text,
    authority text,
    refused text
);


--
-- Name: arbiter; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.arbiter (
    name text NOT NULL,
    listen text NOT NULL,
    program text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL
)
WITH (fillfactor='70');


--
-- Name: attempt; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.attempt (
    token bigint NOT NULL,
    slug text NOT NULL,
    peer text NOT NULL,
    started bigint NOT NULL,
    ended bigint NOT NULL,
    verdict text NOT NULL,
    requests bigint NOT NULL,
    bytes_fetched bigint NOT NULL,
    bytes_plain bigint NOT NULL,
    millis bigint NOT NULL,
    packages bigint NOT NULL,
    put bigint NOT NULL,
    dropped bigint NOT NULL,
    skipped bigint NOT NULL,
    error text,
    reason text
);


--
-- Name: blocked_host; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.blocked_host (
    host text NOT NULL
);


--
-- Name: channel; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.channel (
    name text NOT NULL
);


--
-- Name: cooling; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.cooling (
    domain text NOT NULL,
    peer text NOT NULL,
    refusals bigint NOT NULL,
    until bigint NOT NULL,
    CONSTRAINT cooling_refusals_check CHECK ((refusals > 0))
);


--
-- Name: decision; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.decision (
    number bigint NOT NULL,
    said text NOT NULL,
    subject text NOT NULL,
    about text,
    by_whom text NOT NULL,
    decided_at bigint NOT NULL,
    why text NOT NULL,
    in_force boolean NOT NULL
);


--
-- Name: decision_number_seq; Type: SEQUENCE; Schema: arbiter; Owner: -
--

ALTER TABLE arbiter.decision ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME arbiter.decision_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: dispute; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.dispute (
    number bigint NOT NULL,
    slug text NOT NULL,
    publication bigint NOT NULL,
    opened_at bigint NOT NULL,
    doubles text[] NOT NULL,
    closed_at bigint,
    ruling text
);


--
-- Name: dispute_number_seq; Type: SEQUENCE; Schema: arbiter; Owner: -
--

ALTER TABLE arbiter.dispute ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME arbiter.dispute_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: distance; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.distance (
    domain text NOT NULL,
    refusals bigint NOT NULL,
    rests_until bigint,
    CONSTRAINT distance_refusals_check CHECK ((refusals >= 0))
);


--
-- Name: evidence; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.evidence (
    dispute bigint NOT NULL,
    had boolean NOT NULL,
    id text NOT NULL,
    package_id text NOT NULL,
    version text NOT NULL,
    architecture text NOT NULL,
    package_filename text NOT NULL,
    sha256_hash text,
    digest bytea NOT NULL
);


--
-- Name: feed; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.feed (
    last bigint NOT NULL,
    seed bigint DEFAULT 0 NOT NULL,
    horizon bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');


--
-- Name: held; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.held (
    number bigint NOT NULL,
    kind text NOT NULL,
    slug text,
    fingerprint text NOT NULL,
    why text NOT NULL,
    held_at bigint NOT NULL,
    CONSTRAINT held_kind_check CHECK ((kind = ANY (ARRAY['source list'::text, 'policy'::text, 'source'::text])))
);


--
-- Name: held_number_seq; Type: SEQUENCE; Schema: arbiter; Owner: -
--

ALTER TABLE arbiter.held ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME arbiter.held_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: host_address; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.host_address (
    host text NOT NULL,
    address text NOT NULL,
    seen_at bigint NOT NULL
);


--
-- Name: keyring; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.keyring (
    slug text NOT NULL,
    keys text NOT NULL
);


--
-- Name: lease; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.lease (
    token bigint NOT NULL,
    slug text NOT NULL,
    operator text NOT NULL,
    peer text NOT NULL,
    granted_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    plain boolean DEFAULT false NOT NULL,
    kind text DEFAULT 'index'::text NOT NULL,
    CONSTRAINT lease_kind_check CHECK ((kind = ANY (ARRAY['audit'::text, 'index'::text, 'reread'::text])))
)
WITH (fillfactor='50');


--
-- Name: loss; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.loss (
    slug text NOT NULL,
    lost bigint NOT NULL,
    lost_at bigint NOT NULL
);


--
-- Name: migration; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.migration (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: operator; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.operator (
    name text NOT NULL,
    last_lease_ended bigint
)
WITH (fillfactor='70');


--
-- Name: owner_file; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.owner_file (
    place text NOT NULL,
    asked_at bigint NOT NULL,
    says text NOT NULL
);


--
-- Name: package; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.package (
    id character varying NOT NULL,
    package_id character varying NOT NULL,
    latest_version boolean DEFAULT false NOT NULL,
    visible boolean DEFAULT true NOT NULL,
    quality integer NOT NULL,
    repository_id character varying NOT NULL,
    price character varying NOT NULL,
    version character varying NOT NULL,
    architecture character varying NOT NULL,
    package_filename character varying NOT NULL,
    package_size bigint NOT NULL,
    sha256_hash character varying,
    name character varying,
    description character varying,
    author character varying,
    maintainer character varying,
    depiction character varying,
    native_depiction character varying,
    sileo_depiction character varying,
    header_url character varying,
    tint_color character varying,
    icon_url character varying,
    section character varying,
    tags character varying[] DEFAULT '{}'::character varying[],
    installed_size bigint,
    digest bytea,
    version_key bytea,
    left_at bigint,
    search_vector tsvector GENERATED ALWAYS AS ((((setweight(to_tsvector('simple'::regconfig, (COALESCE(name, ''::character varying))::text), 'A'::"char") || setweight(to_tsvector('simple'::regconfig, (package_id)::text), 'A'::"char")) || setweight(to_tsvector('simple'::regconfig, (COALESCE(author, ''::character varying))::text), 'B'::"char")) || setweight(to_tsvector('simple'::regconfig, (COALESCE(description, ''::character varying))::text), 'C'::"char"))) STORED,
    publication bigint,
    CONSTRAINT package_digest_check CHECK ((octet_length(digest) = 16)),
    CONSTRAINT package_left CHECK (((left_at IS NULL) OR (NOT (visible OR latest_version)))),
    CONSTRAINT package_written CHECK (((digest IS NULL) = (version_key IS NULL)))
);


--
-- Name: peer; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.peer (
    name text NOT NULL,
    agent text NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    granted bigint DEFAULT 0 NOT NULL,
    finished bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    given_back bigint DEFAULT 0 NOT NULL,
    expired bigint DEFAULT 0 NOT NULL,
    revoked bigint DEFAULT 0 NOT NULL,
    arbiter text,
    address text,
    slots integer,
    writes text,
    reaches text,
    record text,
    rests_until bigint,
    trust text DEFAULT 'first'::text NOT NULL,
    trust_why text DEFAULT ''::text NOT NULL,
    trust_since bigint,
    network text DEFAULT ''::text NOT NULL,
    mapping bigint,
    confirmed bigint DEFAULT 0 NOT NULL,
    audits bigint DEFAULT 0 NOT NULL,
    asked_at bigint,
    missed bigint DEFAULT 0 NOT NULL,
    public_name text,
    CONSTRAINT peer_trust_check CHECK ((trust = ANY (ARRAY['first'::text, 'probation'::text, 'proven'::text, 'suspended'::text])))
)
WITH (fillfactor='70');


--
-- Name: price; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.price (
    slug text NOT NULL,
    package_id text NOT NULL COLLATE pg_catalog."C",
    price text NOT NULL,
    asked_at bigint NOT NULL,
    CONSTRAINT price_package_id_check CHECK (((octet_length(package_id) >= 1) AND (octet_length(package_id) <= 256))),
    CONSTRAINT price_price_check CHECK (((octet_length(price) >= 1) AND (octet_length(price) <= 64)))
);


--
-- Name: publication; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.publication (
    lease bigint NOT NULL,
    number bigint NOT NULL,
    slug text NOT NULL,
    peer text NOT NULL,
    granted_at bigint NOT NULL,
    published_at bigint NOT NULL,
    head text NOT NULL,
    index_path text NOT NULL,
    index_digest text NOT NULL,
    put bigint NOT NULL,
    gone bigint NOT NULL,
    packages bigint NOT NULL,
    confirmed_by text[] DEFAULT '{}'::text[] NOT NULL,
    network text DEFAULT ''::text NOT NULL,
    mapping bigint,
    confirmed_at bigint,
    undone boolean DEFAULT false NOT NULL
);


--
-- Name: reading; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.reading (
    number bigint NOT NULL,
    dispute bigint NOT NULL,
    peer text NOT NULL,
    network text NOT NULL,
    mapping bigint,
    head text NOT NULL,
    index_path text NOT NULL,
    index_digest text NOT NULL,
    commitment text NOT NULL,
    read_at bigint NOT NULL
);


--
-- Name: reading_number_seq; Type: SEQUENCE; Schema: arbiter; Owner: -
--

ALTER TABLE arbiter.reading ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME arbiter.reading_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: role; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.role (
    peer text NOT NULL,
    name text NOT NULL
);


--
-- Name: source; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.source (
    slug text NOT NULL,
    uri text NOT NULL,
    suite text NOT NULL,
    component text,
    architecture text,
    ranking integer NOT NULL,
    aliases text[] NOT NULL,
    bootstrap boolean NOT NULL,
    headers text[] NOT NULL,
    operator text NOT NULL,
    listed boolean NOT NULL,
    due_at bigint NOT NULL,
    announced boolean NOT NULL,
    last_contact bigint,
    last_attempt bigint,
    failures bigint NOT NULL,
    last_error text,
    origin_head text,
    origin_release_path text,
    origin_etag text,
    origin_last_modified text,
    origin_index_path text,
    origin_index_digest text,
    announced_cid text,
    announced_at bigint,
    discovery text,
    discovered_by text,
    discovered_at bigint,
    domain text DEFAULT ''::text NOT NULL,
    failing_since bigint,
    last_failure bigint,
    standing text DEFAULT 'active'::text NOT NULL,
    stood_at bigint,
    blocked text,
    polled boolean GENERATED ALWAYS AS ((listed AND (blocked IS NULL) AND ((standing <> 'delisted'::text) OR announced))) STORED NOT NULL,
    shown boolean GENERATED ALWAYS AS ((listed AND (blocked IS NULL) AND (standing = 'active'::text))) STORED NOT NULL,
    delisted text,
    names bigint DEFAULT 0 NOT NULL,
    families text,
    signature text,
    signed_by text,
    signed_until bigint,
    witnesses text,
    plain_at bigint,
    plain_by text,
    spent bigint DEFAULT 0 NOT NULL,
    spent_on bigint,
    publication bigint,
    wants text,
    not_by text[] DEFAULT '{}'::text[] NOT NULL,
    checked_at bigint,
    vouched_by text,
    rows_from bigint,
    anew bigint,
    reason text,
    next_signers text[] DEFAULT '{}'::text[] NOT NULL,
    next_until bigint,
    owner_release text,
    owner_host text,
    max_age bigint DEFAULT 0 NOT NULL,
    stopped text,
    relied bigint DEFAULT 0 NOT NULL,
    announced_itself boolean DEFAULT false NOT NULL,
    oddities text,
    CONSTRAINT source_check CHECK ((((origin_head IS NULL) = (origin_release_path IS NULL)) AND ((origin_head IS NULL) = (origin_index_path IS NULL)) AND ((origin_head IS NULL) = (origin_index_digest IS NULL)))),
    CONSTRAINT source_discovery_check CHECK ((discovery = ANY (ARRAY['look'::text, 'trust'::text, 'found'::text, 'approved'::text, 'refused'::text]))),
    CONSTRAINT source_failures_check CHECK ((failures >= 0)),
    CONSTRAINT source_families_check CHECK ((families = ANY (ARRAY['any'::text, 'IPv4'::text, 'IPv6'::text]))),
    CONSTRAINT source_ranking_check CHECK (((ranking >= 1) AND (ranking <= 5))),
    CONSTRAINT source_signed CHECK (((signature IS NULL) = (signed_by IS NULL))),
    CONSTRAINT source_standing_check CHECK ((standing = ANY (ARRAY['active'::text, 'deactivated'::text, 'delisted'::text]))),
    CONSTRAINT source_wants_check CHECK ((wants = ANY (ARRAY['audit'::text, 'reread'::text])))
)
WITH (fillfactor='70');


--
-- Name: source_day; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.source_day (
    slug text NOT NULL,
    day bigint NOT NULL,
    leases bigint NOT NULL,
    requests bigint NOT NULL,
    bytes bigint NOT NULL
);


--
-- Name: staged; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.staged (
    token bigint NOT NULL,
    put bigint DEFAULT 0 NOT NULL,
    put_bytes bigint DEFAULT 0 NOT NULL,
    dropped bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');


--
-- Name: staging; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.staging (
    token bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    version_key bytea NOT NULL,
    package_id text NOT NULL,
    version text NOT NULL,
    architecture text NOT NULL,
    package_filename text NOT NULL,
    package_size bigint NOT NULL,
    price text NOT NULL,
    sha256_hash text,
    name text,
    description text,
    author text,
    maintainer text,
    depiction text,
    native_depiction text,
    sileo_depiction text,
    header_url text,
    tint_color text,
    icon_url text,
    section text,
    tags text[] NOT NULL,
    installed_size bigint
);


--
-- Name: staging_dropped; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.staging_dropped (
    token bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT staging_dropped_digest_check CHECK ((octet_length(digest) = 16))
);


--
-- Name: tally; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.tally (
    hour bigint NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    writer integer NOT NULL,
    leases bigint NOT NULL,
    requests bigint NOT NULL,
    bytes bigint NOT NULL,
    millis bigint NOT NULL
)
WITH (fillfactor='50');


--
-- Name: token; Type: SEQUENCE; Schema: arbiter; Owner: -
--

CREATE SEQUENCE arbiter.token
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: token; Type: SEQUENCE OWNED BY; Schema: arbiter; Owner: -
--

ALTER SEQUENCE arbiter.token OWNED BY arbiter.lease.token;


--
-- Name: turn; Type: TABLE; Schema: arbiter; Owner: -
--

CREATE TABLE arbiter.turn (
    work text NOT NULL,
    begun_at bigint NOT NULL
);


--
-- Name: package; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.package AS
 SELECT package.id,
    package.package_id,
    package.latest_version,
    package.visible,
    package.quality,
    package.repository_id,
    package.price,
    package.version,
    package.architecture,
    package.package_filename,
    package.package_size,
    package.sha256_hash,
    package.name,
    package.description,
    package.author,
    package.maintainer,
    package.depiction,
    package.native_depiction,
    package.sileo_depiction,
    package.header_url,
    package.tint_color,
    package.icon_url,
    package.section,
    package.tags,
    package.installed_size,
    package.search_vector
   FROM arbiter.package;


--
-- Name: repository; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.repository (
    id character varying NOT NULL,
    aliases character varying[] DEFAULT '{}'::character varying[],
    visible boolean DEFAULT true NOT NULL,
    quality integer NOT NULL,
    package_count bigint DEFAULT 0 NOT NULL,
    sections character varying[] DEFAULT '{}'::character varying[],
    bootstrap boolean DEFAULT false NOT NULL,
    uri character varying NOT NULL,
    suite character varying DEFAULT './'::character varying NOT NULL,
    component character varying,
    name character varying,
    version character varying,
    description character varying,
    date timestamp without time zone,
    payment_gateway character varying,
    sileo_endpoint character varying,
    origin_hostname character varying NOT NULL,
    origin_release_path character varying NOT NULL,
    origin_release_hash character varying NOT NULL,
    origin_packages_path character varying NOT NULL,
    origin_packages_hash character varying NOT NULL,
    origin_last_updated timestamp without time zone NOT NULL,
    origin_has_in_release boolean NOT NULL,
    origin_has_release_gpg boolean NOT NULL,
    origin_supports_payment_v1 boolean NOT NULL,
    origin_supports_payment_v2 boolean NOT NULL,
    origin_uses_https boolean NOT NULL,
    search_vector tsvector GENERATED ALWAYS AS ((((setweight(to_tsvector('simple'::regconfig, (COALESCE(name, ''::character varying))::text), 'A'::"char") || setweight(to_tsvector('simple'::regconfig, (id)::text), 'A'::"char")) || setweight(to_tsvector('simple'::regconfig, COALESCE(public.canister_words(aliases), ''::text)), 'B'::"char")) || setweight(to_tsvector('simple'::regconfig, (COALESCE(description, ''::character varying))::text), 'C'::"char"))) STORED,
    origin_signed_by character varying
);


--
-- Name: lease token; Type: DEFAULT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease ALTER COLUMN token SET DEFAULT nextval('arbiter.token'::regclass);


--
-- Data for Name: absent; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.absent VALUES ('alpha', 'Release.gpg', 1796026098972);
INSERT INTO arbiter.absent VALUES ('beta', 'Release.gpg', 1796026099041);
INSERT INTO arbiter.absent VALUES ('gamma', 'Release.gpg', 1796026099090);


--
-- Data for Name: advertisement; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: applicant; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: arbiter; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.arbiter VALUES ('vm 127.0.0.1:18093', '127.0.0.1:18093', 'canister-arbiter/0.1.0', 1796026098716, 1796026098716);


--
-- Data for Name: attempt; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.attempt VALUES (1, 'alpha', 'anna', 1796026098930, 1796026098972, 'indexed', 6, 441, 317, 30, 3, 3, 0, 0, NULL, NULL);
INSERT INTO arbiter.attempt VALUES (2, 'beta', 'anna', 1796026099009, 1796026099041, 'indexed', 4, 435, 311, 20, 3, 3, 0, 0, NULL, NULL);
INSERT INTO arbiter.attempt VALUES (3, 'gamma', 'anna', 1796026099062, 1796026099090, 'indexed', 4, 441, 317, 17, 3, 3, 0, 0, NULL, NULL);
INSERT INTO arbiter.attempt VALUES (4, 'odd', 'anna', 1796026099123, 1796026099146, 'source failed', 4, 85, 0, 9, 0, 0, 0, 0, 'odd: fetch Packages: not there', 'not found');


--
-- Data for Name: blocked_host; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: channel; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.channel VALUES ('canister_395fee3973574ff98b5ae6d62a7a8ceb');


--
-- Data for Name: cooling; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: decision; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (1, 'block', 'slug:gamma', NULL, 'uid 0', 1796026099448, 'spam', true);
INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (2, 'block', 'host:bad.example', NULL, 'uid 0', 1796026099461, 'asked by its owner', true);
INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (3, 'allow', 'https://bad.example/good', NULL, 'uid 0', 1796026099476, '', true);
INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (4, 'delist', 'slug:beta', NULL, 'uid 0', 1796026099487, 'gone', true);
INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (5, 'trust', 'peer:anna', NULL, 'uid 0', 1796026099498, 'a friend', true);
INSERT INTO arbiter.decision OVERRIDING SYSTEM VALUE VALUES (6, 'suspend', 'peer:ben', NULL, 'uid 0', 1796026099506, '', true);


--
-- Data for Name: dispute; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: distance; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: evidence; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: feed; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.feed VALUES (5, 187212773058887003, 0);


--
-- Data for Name: held; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: host_address; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: keyring; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: lease; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: loss; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: migration; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.migration VALUES (1, 'catalogue', '2026-11-30 08:08:18.498128+00');
INSERT INTO arbiter.migration VALUES (2, 'arbiter', '2026-11-30 08:08:18.52319+00');
INSERT INTO arbiter.migration VALUES (3, 'staging', '2026-11-30 08:08:18.552121+00');
INSERT INTO arbiter.migration VALUES (4, 'peer', '2026-11-30 08:08:18.556813+00');
INSERT INTO arbiter.migration VALUES (5, 'announcements', '2026-11-30 08:08:18.56105+00');
INSERT INTO arbiter.migration VALUES (6, 'standing', '2026-11-30 08:08:18.563183+00');
INSERT INTO arbiter.migration VALUES (7, 'decisions', '2026-11-30 08:08:18.584999+00');
INSERT INTO arbiter.migration VALUES (8, 'losses', '2026-11-30 08:08:18.591482+00');
INSERT INTO arbiter.migration VALUES (9, 'families', '2026-11-30 08:08:18.595289+00');
INSERT INTO arbiter.migration VALUES (10, 'signatures', '2026-11-30 08:08:18.596831+00');
INSERT INTO arbiter.migration VALUES (11, 'witnesses', '2026-11-30 08:08:18.60368+00');
INSERT INTO arbiter.migration VALUES (12, 'strangers', '2026-11-30 08:08:18.606027+00');
INSERT INTO arbiter.migration VALUES (13, 'provenance', '2026-11-30 08:08:18.608472+00');
INSERT INTO arbiter.migration VALUES (14, 'audits', '2026-11-30 08:08:18.619652+00');
INSERT INTO arbiter.migration VALUES (15, 'feed', '2026-11-30 08:08:18.63516+00');
INSERT INTO arbiter.migration VALUES (16, 'public names', '2026-11-30 08:08:18.639264+00');
INSERT INTO arbiter.migration VALUES (17, 'tally', '2026-11-30 08:08:18.640808+00');
INSERT INTO arbiter.migration VALUES (18, 'next signers', '2026-11-30 08:08:18.644767+00');
INSERT INTO arbiter.migration VALUES (19, 'applicants', '2026-11-30 08:08:18.646575+00');
INSERT INTO arbiter.migration VALUES (20, 'roles', '2026-11-30 08:08:18.650275+00');
INSERT INTO arbiter.migration VALUES (21, 'owners', '2026-11-30 08:08:18.655518+00');
INSERT INTO arbiter.migration VALUES (22, 'advertisements', '2026-11-30 08:08:18.662684+00');
INSERT INTO arbiter.migration VALUES (23, 'oddities', '2026-11-30 08:08:18.668479+00');


--
-- Data for Name: operator; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.operator VALUES ('127.0.0.1', 1796026099146);


--
-- Data for Name: owner_file; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.owner_file VALUES ('http://127.0.0.1:18091', 1796026098972, '');


--
-- Data for Name: package; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.package VALUES ('1WRPQ8VWS7Y6EBZN0VMENNWEFE', 'libalpha', true, true, 2, 'alpha', 'Free', '1.3', 'all', 'a.deb', 5, NULL, NULL, 'of alpha', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\xe82cfa921dc72528b8ef89310021dda5', '\x000201316502013302020002', NULL, DEFAULT, 1);
INSERT INTO arbiter.package VALUES ('7249758HTB9A3ZEFVR3K8X80E0', 'alpha-tool', true, true, 2, 'alpha', 'Free', '1.2', 'all', 'a.deb', 5, NULL, NULL, 'of alpha', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\x28a2c80963de1fc18ed376e6e2ccd726', '\x000201316502013202020002', NULL, DEFAULT, 1);
INSERT INTO arbiter.package VALUES ('75A1J72A7C379AA6S62Q5MBVWZ', 'alpha', true, true, 2, 'alpha', 'Free', '1.0', 'all', 'a.deb', 5, NULL, NULL, 'of alpha', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\x9b907c55eabbd14fa4c8121ce754fa5b', '\x0002013165020002020002', NULL, DEFAULT, 1);
INSERT INTO arbiter.package VALUES ('0NAC6XT076B6RW7APC93W2C789', 'gamma-tool', true, false, 2, 'gamma', 'Free', '1.2', 'all', 'a.deb', 5, NULL, NULL, 'of gamma', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\xc6828564d3a0fe7a85967fbf4fef50b2', '\x000201316502013202020002', NULL, DEFAULT, 3);
INSERT INTO arbiter.package VALUES ('35G917WVS5HJ52993580RTJGJN', 'libgamma', true, false, 2, 'gamma', 'Free', '1.3', 'all', 'a.deb', 5, NULL, NULL, 'of gamma', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\x1fb5a91f1f59979f697024c1d9cf1869', '\x000201316502013302020002', NULL, DEFAULT, 3);
INSERT INTO arbiter.package VALUES ('54H9KJT6BK9EE0J5R3KV5N5HXE', 'gamma', true, false, 2, 'gamma', 'Free', '1.0', 'all', 'a.deb', 5, NULL, NULL, 'of gamma', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\xee5a2263f23c12ac2ac7cc806af5f0c0', '\x0002013165020002020002', NULL, DEFAULT, 3);
INSERT INTO arbiter.package VALUES ('23WA71SGZNC9W1SW7TZX2QQEM8', 'beta-tool', true, false, 2, 'beta', 'Free', '1.2', 'all', 'a.deb', 5, NULL, NULL, 'of beta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\xd33d1cc9b0a0c243b113136b7135ee96', '\x000201316502013202020002', NULL, DEFAULT, 2);
INSERT INTO arbiter.package VALUES ('4S94X6M757AE9KNZV6XSAYRDT6', 'libbeta', true, false, 2, 'beta', 'Free', '1.3', 'all', 'a.deb', 5, NULL, NULL, 'of beta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\x3d10441a31f41bfdd75d30d377065357', '\x000201316502013302020002', NULL, DEFAULT, 2);
INSERT INTO arbiter.package VALUES ('5AYEEHAK5G5SJJ0RHV0E001JF9', 'beta', true, false, 2, 'beta', 'Free', '1.0', 'all', 'a.deb', 5, NULL, NULL, 'of beta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{x,y}', NULL, '\xe8f108e5cc88b28dd5e0958c9e1a184b', '\x0002013165020002020002', NULL, DEFAULT, 2);


--
-- Data for Name: peer; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.peer VALUES ('anna', 'canister-agent/0.1.0', 1796026098922, 1796026099146, 4, 3, 1, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, '{"unreached":["127.0.0.1"],"lost":0,"rests":0,"rests_until":null,"is_tried":true}', NULL, 'proven', '', NULL, '127.0.0.0/24', 1, 0, 0, 1796026098972, 0, NULL);


--
-- Data for Name: price; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: publication; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.publication VALUES (1, 1, 'alpha', 'anna', 1796026098930, 1796026098972, 'bafkreibqgz35e3jorj7cddfqiz4h2slgkbnqz2xvqu52yd5frwgr3t35em', 'Packages', 'sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054', 3, 0, 3, '{}', '127.0.0.0/24', 1, NULL, false);
INSERT INTO arbiter.publication VALUES (2, 2, 'beta', 'anna', 1796026099009, 1796026099041, 'bafkreifn74tu4q6lamfemflt53muhbifnqbpesdhutkm7mhtvgg2ih4hry', 'Packages', 'sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8', 3, 0, 3, '{}', '127.0.0.0/24', 1, NULL, false);
INSERT INTO arbiter.publication VALUES (3, 3, 'gamma', 'anna', 1796026099062, 1796026099090, 'bafkreibrszfrqbi5ohaqnbihopxrwshqde2hfkq5kp3vktcegqnhlwafom', 'Packages', 'sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9', 3, 0, 3, '{}', '127.0.0.0/24', 1, NULL, false);


--
-- Data for Name: reading; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: role; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: source; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.source VALUES ('gamma', 'http://127.0.0.1:18091/gamma/', './', NULL, NULL, 2, '{}', false, '{}', '127.0.0.1', true, 1796028804672, false, 1796026099090, 1796026099090, 0, NULL, 'bafkreibrszfrqbi5ohaqnbihopxrwshqde2hfkq5kp3vktcegqnhlwafom', 'Release', NULL, 'Mon, 30 Nov 2026 08:08:15 GMT', 'Packages', 'sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', NULL, NULL, 'active', NULL, 'blocked: block slug:gamma by uid 0 at 2026-11-30 08:08:19: spam', DEFAULT, DEFAULT, NULL, 3, 'any', 'missing', '', NULL, NULL, 1796026099090, 'anna', 441, 20787, 3, NULL, '{}', 1796026099090, 'anna', 3, 4, NULL, '{}', NULL, NULL, NULL, 0, NULL, 0, false, 'line 1: stanza without a digest of its deb; add SHA256 (package "gamma") [digest-missing]
line 9: stanza without a digest of its deb; add SHA256 (package "gamma-tool") [digest-missing]
line 17: stanza without a digest of its deb; add SHA256 (package "libgamma") [digest-missing]');
INSERT INTO arbiter.source VALUES ('alpha', 'http://127.0.0.1:18091/alpha/', './', NULL, NULL, 2, '{}', false, '{}', '127.0.0.1', true, 1796030322974, false, 1796026098972, 1796026098972, 0, NULL, 'bafkreibqgz35e3jorj7cddfqiz4h2slgkbnqz2xvqu52yd5frwgr3t35em', 'Release', NULL, 'Mon, 30 Nov 2026 08:08:15 GMT', 'Packages', 'sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', NULL, NULL, 'active', NULL, NULL, DEFAULT, DEFAULT, NULL, 3, 'any', 'missing', '', NULL, NULL, 1796026098972, 'anna', 441, 20787, 1, 'audit', '{127.0.0.0/24,anna}', 1796026098972, 'anna', 1, NULL, NULL, '{}', NULL, NULL, NULL, 0, NULL, 0, false, 'line 1: stanza without a digest of its deb; add SHA256 (package "alpha") [digest-missing]
line 9: stanza without a digest of its deb; add SHA256 (package "alpha-tool") [digest-missing]
line 17: stanza without a digest of its deb; add SHA256 (package "libalpha") [digest-missing]');
INSERT INTO arbiter.source VALUES ('odd', 'http://127.0.0.1:18091/odd/', './', NULL, NULL, 2, '{}', false, '{}', '127.0.0.1', true, 1796026999146, false, NULL, 1796026099146, 1, 'odd: fetch Packages: not there', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '127.0.0.1', 1796026099146, 1796026099146, 'active', NULL, NULL, DEFAULT, DEFAULT, NULL, 0, 'any', NULL, NULL, NULL, '[{"peer":"anna","network":"127.0.0.0/24","met":"content","at":1796026099146,"times":1}]', NULL, NULL, 85, 20787, NULL, NULL, '{}', NULL, NULL, NULL, NULL, 'not found', '{}', NULL, NULL, NULL, 0, NULL, 0, false, NULL);
INSERT INTO arbiter.source VALUES ('beta', 'http://127.0.0.1:18091/beta/', './', NULL, NULL, 2, '{}', false, '{}', '127.0.0.1', true, 1796031260265, false, 1796026099041, 1796026099041, 0, NULL, 'bafkreifn74tu4q6lamfemflt53muhbifnqbpesdhutkm7mhtvgg2ih4hry', 'Release', NULL, 'Mon, 30 Nov 2026 08:08:15 GMT', 'Packages', 'sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', NULL, NULL, 'delisted', 1796026099487, NULL, DEFAULT, DEFAULT, 'delist slug:beta by uid 0 at 2026-11-30 08:08:19: gone', 3, 'any', 'missing', '', NULL, NULL, 1796026099041, 'anna', 435, 20787, 2, NULL, '{}', 1796026099041, 'anna', 2, 5, NULL, '{}', NULL, NULL, NULL, 0, NULL, 0, false, 'line 1: stanza without a digest of its deb; add SHA256 (package "beta") [digest-missing]
line 9: stanza without a digest of its deb; add SHA256 (package "beta-tool") [digest-missing]
line 17: stanza without a digest of its deb; add SHA256 (package "libbeta") [digest-missing]');


--
-- Data for Name: source_day; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.source_day VALUES ('alpha', 20787, 1, 6, 441);
INSERT INTO arbiter.source_day VALUES ('beta', 20787, 1, 4, 435);
INSERT INTO arbiter.source_day VALUES ('gamma', 20787, 1, 4, 441);
INSERT INTO arbiter.source_day VALUES ('odd', 20787, 1, 4, 85);


--
-- Data for Name: staged; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: staging; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: staging_dropped; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: tally; Type: TABLE DATA; Schema: arbiter; Owner: -
--

INSERT INTO arbiter.tally VALUES (1796025600000, 'indexed', '', 19312, 2, 10, 876, 50);
INSERT INTO arbiter.tally VALUES (1796025600000, 'indexed', '', 19317, 1, 4, 441, 17);
INSERT INTO arbiter.tally VALUES (1796025600000, 'source failed', 'not found', 19318, 1, 4, 85, 9);


--
-- Data for Name: turn; Type: TABLE DATA; Schema: arbiter; Owner: -
--



--
-- Data for Name: repository; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.repository VALUES ('alpha', '{}', true, 2, 3, '{}', false, 'http://127.0.0.1:18091/alpha/', './', NULL, 'Tests', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', 'Release', 'sha256:303677d26d2e8a7e218cb046787d4966505b0ceaf5853bac0fa58d8d1dcf7d23', 'Packages', 'sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054', '2026-11-30 08:08:18', false, false, false, false, false, DEFAULT, NULL);
INSERT INTO public.repository VALUES ('gamma', '{}', false, 2, 3, '{}', false, 'http://127.0.0.1:18091/gamma/', './', NULL, 'Tests', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', 'Release', 'sha256:31964b18051d71c106850773ef1b48f0193472aa1d53f7554c44341a75d80573', 'Packages', 'sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9', '2026-11-30 08:08:19', false, false, false, false, false, DEFAULT, NULL);
INSERT INTO public.repository VALUES ('beta', '{}', false, 2, 3, '{}', false, 'http://127.0.0.1:18091/beta/', './', NULL, 'Tests', NULL, NULL, NULL, NULL, NULL, '127.0.0.1', 'Release', 'sha256:adff274e43cb030a461573eed94385056c02f24867a4d4cfb0f3a98da41f878e', 'Packages', 'sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8', '2026-11-30 08:08:19', false, false, false, false, false, DEFAULT, NULL);


--
-- Name: decision_number_seq; Type: SEQUENCE SET; Schema: arbiter; Owner: -
--

SELECT pg_catalog.setval('arbiter.decision_number_seq', 6, true);


--
-- Name: dispute_number_seq; Type: SEQUENCE SET; Schema: arbiter; Owner: -
--

SELECT pg_catalog.setval('arbiter.dispute_number_seq', 1, false);


--
-- Name: held_number_seq; Type: SEQUENCE SET; Schema: arbiter; Owner: -
--

SELECT pg_catalog.setval('arbiter.held_number_seq', 1, false);


--
-- Name: reading_number_seq; Type: SEQUENCE SET; Schema: arbiter; Owner: -
--

SELECT pg_catalog.setval('arbiter.reading_number_seq', 1, false);


--
-- Name: token; Type: SEQUENCE SET; Schema: arbiter; Owner: -
--

SELECT pg_catalog.setval('arbiter.token', 4, true);


--
-- Name: absent absent_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.absent
    ADD CONSTRAINT absent_pkey PRIMARY KEY (slug, file);


--
-- Name: advertisement advertisement_cid_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.advertisement
    ADD CONSTRAINT advertisement_cid_key UNIQUE (cid);


--
-- Name: advertisement advertisement_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.advertisement
    ADD CONSTRAINT advertisement_pkey PRIMARY KEY (number);


--
-- Name: applicant applicant_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.applicant
    ADD CONSTRAINT applicant_pkey PRIMARY KEY (key);


--
-- Name: arbiter arbiter_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.arbiter
    ADD CONSTRAINT arbiter_pkey PRIMARY KEY (name);


--
-- Name: attempt attempt_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (token);


--
-- Name: blocked_host blocked_host_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.blocked_host
    ADD CONSTRAINT blocked_host_pkey PRIMARY KEY (host);


--
-- Name: cooling cooling_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.cooling
    ADD CONSTRAINT cooling_pkey PRIMARY KEY (domain, peer);


--
-- Name: decision decision_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.decision
    ADD CONSTRAINT decision_pkey PRIMARY KEY (number);


--
-- Name: dispute dispute_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.dispute
    ADD CONSTRAINT dispute_pkey PRIMARY KEY (number);


--
-- Name: distance distance_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.distance
    ADD CONSTRAINT distance_pkey PRIMARY KEY (domain);


--
-- Name: held held_fingerprint_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.held
    ADD CONSTRAINT held_fingerprint_key UNIQUE (fingerprint);


--
-- Name: held held_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.held
    ADD CONSTRAINT held_pkey PRIMARY KEY (number);


--
-- Name: host_address host_address_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.host_address
    ADD CONSTRAINT host_address_pkey PRIMARY KEY (host, address);


--
-- Name: keyring keyring_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.keyring
    ADD CONSTRAINT keyring_pkey PRIMARY KEY (slug);


--
-- Name: lease lease_operator_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease
    ADD CONSTRAINT lease_operator_key UNIQUE (operator);


--
-- Name: lease lease_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (token);


--
-- Name: lease lease_slug_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease
    ADD CONSTRAINT lease_slug_key UNIQUE (slug);


--
-- Name: migration migration_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);


--
-- Name: operator operator_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.operator
    ADD CONSTRAINT operator_pkey PRIMARY KEY (name);


--
-- Name: owner_file owner_file_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.owner_file
    ADD CONSTRAINT owner_file_pkey PRIMARY KEY (place);


--
-- Name: package package_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.package
    ADD CONSTRAINT package_pkey PRIMARY KEY (id);


--
-- Name: peer peer_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.peer
    ADD CONSTRAINT peer_pkey PRIMARY KEY (name);


--
-- Name: price price_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.price
    ADD CONSTRAINT price_pkey PRIMARY KEY (slug, package_id);


--
-- Name: publication publication_number_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.publication
    ADD CONSTRAINT publication_number_key UNIQUE (number);


--
-- Name: publication publication_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.publication
    ADD CONSTRAINT publication_pkey PRIMARY KEY (lease);


--
-- Name: reading reading_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.reading
    ADD CONSTRAINT reading_pkey PRIMARY KEY (number);


--
-- Name: role role_name_key; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.role
    ADD CONSTRAINT role_name_key UNIQUE (name);


--
-- Name: role role_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.role
    ADD CONSTRAINT role_pkey PRIMARY KEY (peer);


--
-- Name: source_day source_day_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.source_day
    ADD CONSTRAINT source_day_pkey PRIMARY KEY (slug, day);


--
-- Name: source source_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.source
    ADD CONSTRAINT source_pkey PRIMARY KEY (slug);


--
-- Name: staged staged_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.staged
    ADD CONSTRAINT staged_pkey PRIMARY KEY (token);


--
-- Name: staging_dropped staging_dropped_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.staging_dropped
    ADD CONSTRAINT staging_dropped_pkey PRIMARY KEY (token, digest);


--
-- Name: staging staging_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.staging
    ADD CONSTRAINT staging_pkey PRIMARY KEY (token, id);


--
-- Name: tally tally_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.tally
    ADD CONSTRAINT tally_pkey PRIMARY KEY (hour, verdict, reason, writer);


--
-- Name: turn turn_pkey; Type: CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.turn
    ADD CONSTRAINT turn_pkey PRIMARY KEY (work);


--
-- Name: repository repository_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_pkey PRIMARY KEY (id);


--
-- Name: advertisement_entries; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX advertisement_entries ON arbiter.advertisement USING btree (entries);


--
-- Name: attempt_source; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX attempt_source ON arbiter.attempt USING btree (slug, token);


--
-- Name: decision_in_force; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE UNIQUE INDEX decision_in_force ON arbiter.decision USING btree (subject, said) WHERE in_force;


--
-- Name: dispute_source; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX dispute_source ON arbiter.dispute USING btree (slug, number);


--
-- Name: evidence_dispute; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX evidence_dispute ON arbiter.evidence USING btree (dispute);


--
-- Name: lease_peer; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX lease_peer ON arbiter.lease USING btree (peer);


--
-- Name: package_known; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_known ON arbiter.package USING btree (repository_id, digest) WHERE (left_at IS NULL);


--
-- Name: package_left; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_left ON arbiter.package USING btree (left_at) WHERE (left_at IS NOT NULL);


--
-- Name: package_lookup; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_lookup ON arbiter.package USING hash (package_id);


--
-- Name: package_publication; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_publication ON arbiter.package USING btree (publication, id) WHERE (publication IS NOT NULL);


--
-- Name: package_search; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_search ON arbiter.package USING gin (search_vector);


--
-- Name: package_sections; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_sections ON arbiter.package USING btree (hashtextextended((section)::text, (0)::bigint), repository_id) WHERE (left_at IS NULL);


--
-- Name: package_shown; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_shown ON arbiter.package USING btree (repository_id) WHERE visible;


--
-- Name: package_unwritten; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_unwritten ON arbiter.package USING btree (repository_id) WHERE ((left_at IS NULL) AND (digest IS NULL));


--
-- Name: package_versions; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX package_versions ON arbiter.package USING btree (hashtextextended((package_id)::text, (0)::bigint), repository_id) WHERE (left_at IS NULL);


--
-- Name: publication_peer; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX publication_peer ON arbiter.publication USING btree (peer, number);


--
-- Name: publication_source; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX publication_source ON arbiter.publication USING btree (slug, number);


--
-- Name: reading_dispute; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX reading_dispute ON arbiter.reading USING btree (dispute, number);


--
-- Name: source_anew; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX source_anew ON arbiter.source USING btree (anew) WHERE (anew IS NOT NULL);


--
-- Name: source_due; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX source_due ON arbiter.source USING btree (due_at) WHERE polled;


--
-- Name: source_witnessed; Type: INDEX; Schema: arbiter; Owner: -
--

CREATE INDEX source_witnessed ON arbiter.source USING btree (due_at) WHERE (witnesses IS NOT NULL);


--
-- Name: repository_ranking; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX repository_ranking ON public.repository USING btree (quality);


--
-- Name: repository_search; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX repository_search ON public.repository USING gin (search_vector);


--
-- Name: staged bound_staging; Type: TRIGGER; Schema: arbiter; Owner: -
--

CREATE TRIGGER bound_staging BEFORE UPDATE OF put_bytes ON arbiter.staged FOR EACH ROW WHEN ((new.put_bytes > old.put_bytes)) EXECUTE FUNCTION arbiter.bound_staging();


--
-- Name: absent absent_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.absent
    ADD CONSTRAINT absent_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: attempt attempt_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.attempt
    ADD CONSTRAINT attempt_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: dispute dispute_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.dispute
    ADD CONSTRAINT dispute_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: evidence evidence_dispute_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.evidence
    ADD CONSTRAINT evidence_dispute_fkey FOREIGN KEY (dispute) REFERENCES arbiter.dispute(number) ON DELETE CASCADE;


--
-- Name: keyring keyring_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.keyring
    ADD CONSTRAINT keyring_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: lease lease_peer_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease
    ADD CONSTRAINT lease_peer_fkey FOREIGN KEY (peer) REFERENCES arbiter.peer(name);


--
-- Name: lease lease_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.lease
    ADD CONSTRAINT lease_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: price price_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.price
    ADD CONSTRAINT price_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: publication publication_slug_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.publication
    ADD CONSTRAINT publication_slug_fkey FOREIGN KEY (slug) REFERENCES arbiter.source(slug);


--
-- Name: reading reading_dispute_fkey; Type: FK CONSTRAINT; Schema: arbiter; Owner: -
--

ALTER TABLE ONLY arbiter.reading
    ADD CONSTRAINT reading_dispute_fkey FOREIGN KEY (dispute) REFERENCES arbiter.dispute(number) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


