"""From a checkpoint and a suite to kept attempts: what is asked, who answers, what is told."""
