-- The name under which a peer agrees to be shown to everybody.
ALTER TABLE peer ADD COLUMN public_name TEXT;
