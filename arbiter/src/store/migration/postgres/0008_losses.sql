-- Packages of a source that the catalogue has, by name: what the brake counts.
ALTER TABLE arbiter.source ADD COLUMN names bigint NOT NULL DEFAULT 0;
UPDATE arbiter.source SET names = live.names
    FROM (SELECT repository_id, count(DISTINCT package_id) AS names FROM public.package
          WHERE left_at IS NULL GROUP BY repository_id) AS live
    WHERE repository_id = slug;

-- What left within the last day without the operator's word, by name: what the brake adds up.
CREATE TABLE arbiter.loss (
    slug text NOT NULL,
    lost bigint NOT NULL,
    lost_at bigint NOT NULL
);
