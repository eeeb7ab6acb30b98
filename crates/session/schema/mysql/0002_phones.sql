-- The phone number WeChat told for a user, as JSON, sealed.
ALTER TABLE weappd_users ADD COLUMN phone BLOB NULL
