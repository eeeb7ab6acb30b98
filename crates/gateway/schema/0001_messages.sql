-- Messages WeChat pushed, until the app has them. Times are milliseconds since 1970.

CREATE TABLE messages (
    -- The order of arrival; never given twice.
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    appid    TEXT    NOT NULL,
    -- What a repeated push has in common with the first.
    key      TEXT    NOT NULL,
    -- Messages of one lane (one user) are delivered one after the other.
    lane     TEXT    NOT NULL,
    openid   TEXT,
    kind     TEXT    NOT NULL,
    -- The message as JSON; empty once it was delivered.
    body     TEXT    NOT NULL,
    -- 0 waits, 1 was delivered, 2 is a dead letter.
    state    INTEGER NOT NULL DEFAULT 0,
    tries    INTEGER NOT NULL DEFAULT 0,
    -- How often the app answered, but not with 2xx.
    refusals INTEGER NOT NULL DEFAULT 0,
    came     INTEGER NOT NULL,
    -- When it may be tried next; when it ended, once it did.
    due      INTEGER NOT NULL,
    why      TEXT,
    UNIQUE (appid, key)
) STRICT;

CREATE INDEX messages_due ON messages (due) WHERE state = 0;
CREATE INDEX messages_lane ON messages (lane, seq) WHERE state = 0;
CREATE INDEX messages_ended ON messages (state, due) WHERE state <> 0;
