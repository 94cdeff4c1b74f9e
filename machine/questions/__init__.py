"""`munro questions`: documents into question and answer pairs."""
