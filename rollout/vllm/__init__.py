"""vLLM, behind one door: engine, launch, weights, and our model as vLLM serves it."""
