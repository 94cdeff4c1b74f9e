"""What thoughts turn into over the steps of a climb: lengths, checks, approaches, loops, and so on.

features/     one thing to look for, one file each, found by name
reading       the rollout store as columns of texts, a few thousand rows at a time
over_steps    curves with intervals, what changed and when
examples      the most telling replies at four steps
report, page  all of it, as JSON and as a page
scan          a judge who is shown early and late replies, shuffled and without their steps
"""
