"""What runs leave: their records, metrics, intervals and tables."""
