"""Who decides which tasks are handed out, and which groups the learner gets, and the evidence."""
