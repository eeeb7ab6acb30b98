-- The AppSecrets that came over qcloud.cam.initdata, encrypted with the key file's key; the
-- column in clear is emptied.
ALTER TABLE weappd_mini_apps ADD COLUMN sealed BLOB NULL
