"""How the policy tries: inference engines, router, group sampling, the rollout store."""
