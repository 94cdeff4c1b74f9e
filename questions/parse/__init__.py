"""Documents into pages of text, in children that can be killed; `formats/` holds one file each."""
