"""Ways to a server: by command, inside the sandbox, by address, in this process.

Each is a function of a server's config that gives a `Link`. What a link yields is the pair of
streams that an `mcp` session reads and writes, but for a server in this process.
"""
