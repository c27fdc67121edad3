-- What the operator said, with who, when and why. Of a subject (an entry, `held:NUMBER`) the newest of
-- two opposite decisions is in force.
CREATE TABLE arbiter.decision (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    said text NOT NULL,
    subject text NOT NULL,
    -- What the held change was that it is of.
    about text,
    by_whom text NOT NULL,
    decided_at bigint NOT NULL,
    why text NOT NULL,
    in_force boolean NOT NULL
);
CREATE UNIQUE INDEX decision_in_force ON arbiter.decision (subject, said) WHERE in_force;

-- The decision that delists a source, in words. `standing` follows from it.
ALTER TABLE arbiter.source ADD COLUMN delisted text;

-- What was said before this version. Of a source that was delisted by command only the moment is known.
INSERT INTO arbiter.decision (said, subject, about, by_whom, decided_at, why, in_force)
SELECT said, subject, about, by_whom, decided_at, why, true FROM (
    SELECT CASE WHEN allowed THEN 'allow' ELSE 'block' END AS said, entry AS subject,
        NULL::text AS about, by_whom, ruled_at AS decided_at, why
    FROM arbiter.ruling
    UNION ALL
    SELECT CASE decided WHEN 'accepted' THEN 'accept' ELSE 'reject' END, 'held:' || number,
        kind || ': ' || why, coalesce(decided_by, 'unknown'), coalesce(decided_at, held_at), ''
    FROM arbiter.held WHERE decided IS NOT NULL
    UNION ALL
    SELECT 'delist', 'slug:' || slug, NULL, 'unknown', coalesce(stood_at, 0), ''
    FROM arbiter.source WHERE listed AND standing = 'delisted' AND failures < 2 AND NOT announced
) AS before ORDER BY decided_at, subject COLLATE "C";

DROP TABLE arbiter.ruling;
ALTER TABLE arbiter.held
    DROP COLUMN decided,
    DROP COLUMN decided_by,
    DROP COLUMN decided_at;
