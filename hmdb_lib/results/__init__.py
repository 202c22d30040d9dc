"""Read what runs leave: records, metrics, intervals, tables."""
