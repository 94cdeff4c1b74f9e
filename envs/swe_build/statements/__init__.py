"""What a task says: from issues, messages, failing tests or a judge, without what leaks."""
