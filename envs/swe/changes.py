"""Changes over changes: what an episode that went on in another box did in all of them."""

from __future__ import annotations

from collections.abc import Sequence

from munro.rewards.sandbox import Change


def merged(parts: Sequence[Sequence[Change]]) -> list[Change]:
    """One list of changes for several, later ones over earlier ones.

    What a later part deletes, or hides with a folder, link or file of its own, is gone from the
    earlier ones with all that is below it.
    """
    if len(parts) == 1:
        return list(parts[0])
    whole: dict[str, Change] = {}
    for part in parts:
        for change in part:
            old = whole.get(change.path)
            keeps_below = str(change.kind) == "folder" and not change.hides_below
            if keeps_below:
                if old is not None and str(old.kind) == "folder":
                    continue
            else:
                below = f"{change.path}/"
                for path in [path for path in whole if path.startswith(below)]:
                    del whole[path]
            whole[change.path] = change
    return [whole[path] for path in sorted(whole)]
