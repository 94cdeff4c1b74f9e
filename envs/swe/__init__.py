"""Tasks of software engineering: a repository, a statement, hidden tests, and boxes to work in.

folder    a task's folder, as Harbor reads it
run       hidden tests in a box: `supervisor` and `report_plugin` run inside
twins     copies of the tests that must fail
grade     what of an agent's changes counts, in a fresh box
"""
