-- What the operator said, with who, when and why. Of a subject (an entry, `held:NUMBER`) the newest of
-- two opposite decisions is in force.
CREATE TABLE decision (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    said TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- What the held change was that it is of.
    about TEXT,
    by_whom TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    why TEXT NOT NULL,
    in_force INTEGER NOT NULL CHECK (in_force IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX decision_in_force ON decision (subject, said) WHERE in_force;

-- The decision that delists a source, in words. `standing` follows from it.
ALTER TABLE source ADD COLUMN delisted TEXT;

-- What was said before this version. Of a source that was delisted by command only the moment is known.
INSERT INTO decision (said, subject, about, by_whom, decided_at, why, in_force)
SELECT said, subject, about, by_whom, decided_at, why, 1 FROM (
    SELECT CASE WHEN allowed THEN 'allow' ELSE 'block' END AS said, entry AS subject, NULL AS about,
        by_whom, ruled_at AS decided_at, why
    FROM ruling
    UNION ALL
    SELECT CASE decided WHEN 'accepted' THEN 'accept' ELSE 'reject' END, 'held:' || number,
        kind || ': ' || why, coalesce(decided_by, 'unknown'), coalesce(decided_at, held_at), ''
    FROM held WHERE decided IS NOT NULL
    UNION ALL
    SELECT 'delist', 'slug:' || slug, NULL, 'unknown', coalesce(stood_at, 0), ''
    FROM source WHERE listed AND standing = 'delisted' AND failures < 2 AND NOT announced
) ORDER BY decided_at, subject;

DROP TABLE ruling;
ALTER TABLE held DROP COLUMN decided;
ALTER TABLE held DROP COLUMN decided_by;
ALTER TABLE held DROP COLUMN decided_at;
