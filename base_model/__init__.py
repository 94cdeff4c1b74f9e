"""What learns: the trainer core, checkpoints, and the small base model of the quickstart."""
