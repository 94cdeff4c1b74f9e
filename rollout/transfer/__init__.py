"""How weights go from a learner's ranks to the servers' without a file and without a full copy.

boxes   which part of a tensor a rank holds, from its DTensor placements
plan    who sends what to whom, from what is held and what is wanted: geometry, no network
execute the sending and receiving over small process groups that live as long as one roster
"""
