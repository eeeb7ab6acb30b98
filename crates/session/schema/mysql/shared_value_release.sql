UPDATE weappd_shelf SET held_until = 0 WHERE name = ? AND fence = ?
