UPDATE weappd_shelf
SET sealed = ?, put_at = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000, held_until = 0
WHERE name = ? AND fence = ?
