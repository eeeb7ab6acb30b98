-- Where the phone that logged in called from.
ALTER TABLE weappd_sessions ADD COLUMN address VARCHAR(45) NULL
