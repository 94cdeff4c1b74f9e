"""From paths to documents: listing, formats, and texts that need no file."""
