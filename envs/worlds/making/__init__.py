"""Tasks of worlds: drawn, proven, written to disk. No model is asked.

kinds/*.py ──► Draft ──► draw ──► prove ──► build ──► a folder of tasks
  scene, plan, phrases: what a request says, and what its words make necessary
"""
