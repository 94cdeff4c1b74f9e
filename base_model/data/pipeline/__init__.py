"""A build: every source through every stage, killed anywhere and gone on with."""
