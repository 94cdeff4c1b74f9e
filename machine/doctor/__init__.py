"""`munro doctor`: what this machine has, and what each missing piece costs; a file a family."""
