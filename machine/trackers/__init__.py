"""Where metrics are copied to: one file each, named in `tracking`. `machine/run/tracking.py` says
what a tracker is."""
