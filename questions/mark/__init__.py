"""Where questions and answers stand in a document: lines, parts, numbered things."""
