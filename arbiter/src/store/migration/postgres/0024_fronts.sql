-- What is due first is found by an index: see `schedule::head_start`, which says the same numbers.
ALTER TABLE arbiter.source
    ADD COLUMN head_start bigint NOT NULL GENERATED ALWAYS AS
        ((5 - ranking) * 3600000::bigint
            + CASE WHEN last_contact IS NULL THEN 86400000 ELSE 0 END
            + CASE WHEN announced THEN 259200000 ELSE 0 END) STORED,
-- The host of `uri`; filled when an arbiter starts.
    ADD COLUMN host text NOT NULL DEFAULT '';

CREATE INDEX source_front ON arbiter.source (domain, head_start, due_at, slug COLLATE "C")
    WHERE polled;
CREATE INDEX source_host ON arbiter.source (host);
CREATE INDEX source_domain ON arbiter.source (domain);
CREATE INDEX source_operator ON arbiter.source (operator);
CREATE INDEX source_wanted ON arbiter.source (due_at) WHERE wants IS NOT NULL;
CREATE INDEX source_owned ON arbiter.source (due_at)
    WHERE owner_release IS NOT NULL OR owner_host IS NOT NULL;
CREATE INDEX operator_ended ON arbiter.operator (last_lease_ended);
CREATE INDEX host_address_address ON arbiter.host_address (address);

-- Of each domain and head start the polled source that is or was due first. Kept by the trigger below,
-- whoever writes sources.
CREATE TABLE arbiter.front (
    domain text NOT NULL,
    head_start bigint NOT NULL,
    due_at bigint NOT NULL,
    slug text COLLATE "C" NOT NULL,
    operator text NOT NULL,
    -- Hints that its operator has a lease, or since when it has none: so it isn't looked at in vain. Without
    -- them its operator may be free or not.
    leased boolean NOT NULL DEFAULT false,
    rests_since bigint,
    PRIMARY KEY (domain, head_start)
) WITH (fillfactor = 70);
CREATE INDEX front_due ON arbiter.front (head_start, due_at, slug)
    WHERE NOT leased AND rests_since IS NULL;
CREATE INDEX front_rests ON arbiter.front (rests_since) WHERE rests_since IS NOT NULL;
CREATE INDEX front_operator ON arbiter.front (operator);

INSERT INTO arbiter.front (domain, head_start, due_at, slug, operator)
SELECT DISTINCT ON (domain, head_start) domain, head_start, due_at, slug, operator
FROM arbiter.source WHERE polled
ORDER BY domain, head_start, due_at, slug COLLATE "C";

-- Planned once a connection: whatever the sizes are, it is a few rows by their keys.
CREATE FUNCTION arbiter.mend_front(of_domain text, of_start bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
    INSERT INTO arbiter.front AS front (domain, head_start, due_at, slug, operator)
    SELECT domain, head_start, due_at, slug, operator FROM arbiter.source
    WHERE domain = of_domain AND head_start = of_start AND polled
    ORDER BY due_at, slug COLLATE "C" LIMIT 1
    ON CONFLICT (domain, head_start) DO UPDATE
    SET due_at = excluded.due_at, slug = excluded.slug, operator = excluded.operator,
        leased = front.leased AND front.operator = excluded.operator,
        rests_since = CASE WHEN front.operator = excluded.operator THEN front.rests_since END
    WHERE (front.due_at, front.slug, front.operator)
        IS DISTINCT FROM (excluded.due_at, excluded.slug, excluded.operator);
    IF NOT FOUND THEN
        DELETE FROM arbiter.front AS front
        WHERE domain = of_domain AND head_start = of_start AND NOT EXISTS (
            SELECT FROM arbiter.source
            WHERE source.domain = of_domain AND source.head_start = of_start AND polled);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION arbiter.mend_front(text, bigint) FROM PUBLIC;

CREATE FUNCTION arbiter.mend_fronts() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM arbiter.mend_front(NEW.domain, NEW.head_start);
    END IF;
    IF TG_OP = 'DELETE' THEN
        PERFORM arbiter.mend_front(OLD.domain, OLD.head_start);
    ELSIF TG_OP = 'UPDATE' AND (OLD.domain, OLD.head_start) <> (NEW.domain, NEW.head_start) THEN
        PERFORM arbiter.mend_front(OLD.domain, OLD.head_start);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION arbiter.mend_fronts() FROM PUBLIC;

CREATE TRIGGER fronts_come AFTER INSERT OR DELETE ON arbiter.source
    FOR EACH ROW EXECUTE FUNCTION arbiter.mend_fronts();
CREATE TRIGGER fronts_move AFTER UPDATE ON arbiter.source
    FOR EACH ROW
    WHEN ((OLD.domain, OLD.head_start, OLD.operator, OLD.due_at, OLD.polled)
        IS DISTINCT FROM (NEW.domain, NEW.head_start, NEW.operator, NEW.due_at, NEW.polled))
    EXECUTE FUNCTION arbiter.mend_fronts();
