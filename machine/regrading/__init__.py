"""A stored run's replies before another environment or other graders: which verdicts change."""
