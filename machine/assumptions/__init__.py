"""What a plan is told that no climb needs to know: `[plan]` of a recipe, and a table of hardware."""
