"""What runs on the far side of the `namespaces` back end: in processes of its own, not in ours.

    launch     builds the root, enters the namespaces                 one process a sandbox
    template   an interpreter that waits inside and forks             one process a sandbox
    keeper     first process of a run: limits, files, the end of it   one process a run
    program    the last steps before hostile code has the process     the run itself

Standard library only; `launch.MODULES` are sent inside as text, so that no file of ours is there.
"""
