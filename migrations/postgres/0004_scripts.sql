-- Which version of a script runs unless a caller names another one: the one that was activated, else the newest that is built.
-- At most one version of a script has activated_at; a newer one that is built empties it.
ALTER TABLE script_version ADD COLUMN activated_at timestamp;
