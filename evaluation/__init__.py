"""How good is it, and how sure are we? Kept results, intervals that hold, comparisons and gates.

    Results(folder)                   munro.evaluation.results: attempts on disk, and their figures
    compare([a, b])                   munro.evaluation.compare: differences task by task
    decide(gate, results, before)     munro.evaluation.gate: pass, fail, cannot tell
    pass_at_1, paired, holm           munro.evaluation.statistics: as pure functions
    Source                            munro.evaluation.suite: who makes attempts

Nothing here trains. A result is every attempt, on disk, comparable with any other over the same
tasks; a figure comes with its interval; and "cannot tell" is an answer.
"""

if __name__ != "munro.evaluation":  # a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)
