-- Every login writes every index. Sessions end in the order in which they began, so the oldest
-- need no index; and a user's sessions are known from one index alone.
ALTER TABLE weappd_sessions
    DROP INDEX by_age,
    DROP INDEX of_user,
    ADD INDEX of_user (user, skey_hash)
