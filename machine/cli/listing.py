"""A group of commands whose help says the first sentence of each one whole.

Click cuts it where the line ends.
"""

from __future__ import annotations

import click


class Listing(click.Group):
    """`click.Group`, listing its commands in whole sentences."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write name and first sentence of every command."""
        rows = []
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=10_000)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
