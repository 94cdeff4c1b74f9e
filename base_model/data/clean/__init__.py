"""Which documents are worth reading: quality, duplicates, boilerplate, evaluation text."""
