-- Who asks to become a peer, by the fingerprint of the key of the signing request.
CREATE TABLE applicant (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- The signing request in PEM.
    request TEXT NOT NULL,
    contact TEXT NOT NULL,
    network TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    -- When the operator answered, and what: certificates in PEM, or why not.
    answered_at INTEGER,
    chain TEXT,
    authority TEXT,
    refused TEXT
) STRICT, WITHOUT ROWID;
