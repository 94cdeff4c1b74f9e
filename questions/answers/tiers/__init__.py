"""Models that try questions: at an address, or run by Munro."""
