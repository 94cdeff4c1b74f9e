"""How a person drives it: command line, config tree, run folders, console, report."""
