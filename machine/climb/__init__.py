"""One climb as a process: from a recipe to a finished run."""
