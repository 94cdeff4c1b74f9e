"""`munro thoughts`: what replies turn into over the steps of a run."""
