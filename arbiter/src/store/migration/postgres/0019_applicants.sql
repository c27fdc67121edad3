-- Who asks to become a peer, by the fingerprint of the key of the signing request.
CREATE TABLE arbiter.applicant (
    key text PRIMARY KEY,
    name text NOT NULL,
    -- The signing request in PEM.
    request text NOT NULL,
    contact text NOT NULL,
    network text NOT NULL,
    applied_at bigint NOT NULL,
    asked_at bigint NOT NULL,
    -- When the operator answered, and what: certificates in PEM, or why not.
    answered_at bigint,
    chain text,
    authority text,
    refused text
);
