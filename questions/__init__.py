"""Where tasks come from: documents become pairs of question and answer, and nothing vanishes.

munro questions build FILE      munro.questions.build: every stage, resumable, a funnel at the end
munro questions look OUT        munro.questions.look: pairs beside their pages, and what was dropped
"""

if __name__ != "munro.questions":  # a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)
