INSERT IGNORE INTO weappd_shelf (name, sealed, put_at, fence, held_until) VALUES (?, '', 0, 0, 0)
