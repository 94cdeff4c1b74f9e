"""Which answer is a question's: by number, place and what the two say."""
