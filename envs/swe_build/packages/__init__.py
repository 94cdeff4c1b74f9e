"""What a box must have installed: read from a repository, had as wheels of a date."""
