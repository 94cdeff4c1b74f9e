"""The policy as a function of weights: rows in, log-probabilities of sampled tokens out."""
