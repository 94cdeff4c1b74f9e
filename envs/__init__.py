"""What the model must do: tasks, environments, the registry, and the built-in environments."""
