-- A few values that all nodes share. Times are milliseconds since 1970 by the server's clock.
CREATE TABLE IF NOT EXISTS weappd_shelf (
    name        VARBINARY(250) NOT NULL PRIMARY KEY,
    -- Encrypted with the key file's key; empty until a value was put there.
    sealed      BLOB           NOT NULL,
    put_at      BIGINT         NOT NULL,
    -- Rises with every hold: who shows an older one is refused.
    fence       BIGINT         NOT NULL,
    held_until  BIGINT         NOT NULL
) ENGINE = InnoDB
