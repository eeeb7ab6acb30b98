-- Answers that WeChat waits for, and messages that no longer hold up their user's later ones.

-- What the app answered, for a push that comes again.
ALTER TABLE messages ADD COLUMN answer TEXT;
-- 1: the app has refused it often enough; its user's later messages need not wait for it.
ALTER TABLE messages ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
-- 1: `success` says more than that it arrived; kept for as long as WeChat may push it again.
ALTER TABLE messages ADD COLUMN deed INTEGER NOT NULL DEFAULT 0;

-- Two users may have messages of one number.
UPDATE messages SET key = key || ' ' || coalesce(openid, '') WHERE key LIKE 'MsgId %';

DROP INDEX messages_lane;
CREATE INDEX messages_lane ON messages (lane, seq) WHERE state = 0 AND aside = 0;
DROP INDEX messages_ended;
CREATE INDEX messages_ended ON messages (state, deed, due) WHERE state <> 0;
