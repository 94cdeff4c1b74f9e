"""`munro watch`: runs in a browser while they go on.

    run folder ──► Lines (appended since the last look) ──► Curves, GivenUp ─┐
              └──► Shelf (files of the stores that are new) ────────────────┴──► Watched ──► server

It reads and never writes, asks no process of the run, and reads no line of a log and no step of a
store twice.
"""
