-- Sources are gone through by slug, some at a time, in the order of its bytes.
CREATE INDEX source_slug ON arbiter.source (slug COLLATE "C");
