"""Runs a side: python main.py FILE, where the file holds a class `Side`. Standard library only.

The protocol: one JSON object a line, questions on stdin and answers on stdout. Both move to private
descriptors before anything else is imported; what the side prints goes to stderr, and it reads
nothing. Questions are numbered, and an answer bears the question's number and episode:

    {"id": 1, "do": "open", "args": {"path": "rows.jsonl"}}
    {"id": 1, "episode": "", "name": "echo", "at_once": 1, "restores": false, "python": "3.12.1"}

    do        with                             the answer
    open      args                             name, at_once, restores, budget, tools, python
    tasks     split, start, most               tasks, size (null: unknown), is_end
    start     episode, task [, saved]          nothing
    reply     episode, message                 observations (null: it is over) [, over]
    grade     episode, trajectory              reward, passed, parts, reason
    save      episode                          saved (base64, or null)
    close     episode                          nothing
    gold      task                             replies (or null), or policy: its id
    turn      policy, seen                     message
    forget    task, saved                      nothing
    careless  task, draw                       reply (or null)
    group     task, trajectories, grades       grades

    {"id": 4, "episode": "e1", "error": "KeyError: 'x' (mine.py:12)", "kind": "raised"}

An error's kind is "raised" (an episode of which nothing is known), or "refused" (a sentence: the
environment cannot be used as it was asked for). When stdin ends, `Side.stop` is called and the
process ends.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - whose interpreter this is, nobody knows yet
    sys.stdin.readline()  # an answer comes after its question
    sys.stdout.write(
        '{{"id": 1, "episode": "", "kind": "refused", "error": "{} is Python {}.{}, and sides need '
        '3.10 or later"}}\n'.format(sys.executable, *sys.version_info[:2])
    )
    sys.exit(2)

import os

_FOLDER = os.path.dirname(os.path.abspath(__file__))
# a side may be called like the package that it is for: its folder must not hide the package
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _FOLDER]


def _private() -> "tuple[int, int]":
    """Descriptors of the protocol that nobody else writes to."""
    asked, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return asked, answers


def main() -> None:
    """Serve the side of the command line until stdin ends."""
    asked, answers = _private()
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "munro_side_serve", os.path.join(_FOLDER, "serve.py")
    )
    assert spec is not None
    assert spec.loader is not None
    serve = importlib.util.module_from_spec(spec)
    sys.modules["munro_side_serve"] = serve
    spec.loader.exec_module(serve)
    serve.serve(sys.argv[1], asked, answers)


if __name__ == "__main__":
    main()
