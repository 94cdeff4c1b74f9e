"""Token ids on disk and in rows: tokenised, packed, mixed, held out."""
