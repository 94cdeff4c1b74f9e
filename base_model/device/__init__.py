"""How training meets a device: what goes there, what comes back, and in what precision it works."""
