"""Files that a side of ours is made of beside its own; the folder is on the path there."""
