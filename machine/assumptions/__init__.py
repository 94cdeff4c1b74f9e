"""What a plan is told and no climb needs to know: `[plan]` of a recipe, a table of hardware."""
