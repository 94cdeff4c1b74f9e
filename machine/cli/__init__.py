"""The command line: one file a group of commands; the work is elsewhere and imported late."""
