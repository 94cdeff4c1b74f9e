"""Which pairs are questions that a climb may be given: filters, duplicates, contamination."""
