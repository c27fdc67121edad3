-- How a source stands, who runs its server, what the operator ruled, and what is held.

ALTER TABLE arbiter.source
-- Its host's domain, as a registry sold it; filled when an arbiter starts.
    ADD COLUMN domain text NOT NULL DEFAULT '',
-- The first and the last attempt that failed by its fault since its last contact.
    ADD COLUMN failing_since bigint,
    ADD COLUMN last_failure bigint,
-- What failing made of it, and since when.
    ADD COLUMN standing text NOT NULL DEFAULT 'active'
        CHECK (standing IN ('active', 'deactivated', 'delisted')),
    ADD COLUMN stood_at bigint,
-- The rule that blocks it, in words.
    ADD COLUMN blocked text;

-- Whether it is to be asked, and whether the catalogue shows it.
ALTER TABLE arbiter.source
    ADD COLUMN polled boolean NOT NULL GENERATED ALWAYS AS
        (listed AND blocked IS NULL AND (standing <> 'delisted' OR announced)) STORED,
    ADD COLUMN shown boolean NOT NULL GENERATED ALWAYS AS
        (listed AND blocked IS NULL AND standing = 'active') STORED;

DROP INDEX arbiter.source_due;
CREATE INDEX source_due ON arbiter.source (due_at) WHERE polled;

-- Failures before this version: the best that is known of when they began.
UPDATE arbiter.source SET failing_since = last_attempt, last_failure = last_attempt
    WHERE failures > 0;

-- How a domain's servers took us: refusals in a row, and until when everybody keeps away.
CREATE TABLE arbiter.distance (
    domain text PRIMARY KEY,
    refusals bigint NOT NULL CHECK (refusals >= 0),
    rests_until bigint
);

-- Peers that a domain's servers sent away, and until when they keep away.
CREATE TABLE arbiter.cooling (
    domain text NOT NULL,
    peer text NOT NULL,
    refusals bigint NOT NULL CHECK (refusals > 0),
    until bigint NOT NULL,
    PRIMARY KEY (domain, peer)
);

-- Where hosts are, and when that was last seen. Hosts at one address have one operator.
CREATE TABLE arbiter.host_address (
    host text NOT NULL,
    address text NOT NULL,
    seen_at bigint NOT NULL,
    PRIMARY KEY (host, address)
);

-- The operator's word on some sources, given by command.
CREATE TABLE arbiter.ruling (
    entry text PRIMARY KEY,
    allowed boolean NOT NULL,
    by_whom text NOT NULL,
    ruled_at bigint NOT NULL,
    why text NOT NULL
);

-- The block lists as they were last read.
CREATE TABLE arbiter.blocked_host (
    host text PRIMARY KEY
);

-- Changes that the brake holds, and what the operator decided. The fingerprint names what would
-- change, so that the same change is known when it comes again.
CREATE TABLE arbiter.held (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('source list', 'policy', 'source')),
    slug text,
    fingerprint text NOT NULL UNIQUE,
    why text NOT NULL,
    held_at bigint NOT NULL,
    decided text CHECK (decided IN ('accepted', 'rejected')),
    decided_by text,
    decided_at bigint
);

-- Packages that left, to find those that are to be deleted.
CREATE INDEX package_left ON public.package (left_at) WHERE left_at IS NOT NULL;

-- Two more ways in which a lease can end.
ALTER TABLE arbiter.attempt
    DROP CONSTRAINT attempt_verdict_check,
    ADD CONSTRAINT attempt_verdict_check CHECK (verdict IN ('indexed', 'unchanged',
        'source failed', 'peer failed', 'given back', 'expired', 'revoked', 'held', 'sent away'));
