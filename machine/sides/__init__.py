"""`munro sides`: people who compare two models' answers."""
