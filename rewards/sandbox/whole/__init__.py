"""Images that are whole machines, used as somebody else made them."""
