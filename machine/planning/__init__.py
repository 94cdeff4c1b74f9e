"""What a climb will need and how fast it can be, before any GPU is paid for: `munro plan`.

sizes      a model by its shape alone
hardware   what a GPU is, as data
cost       memory, time, bytes: formulas, each with its source
simulate   a climb as events: what the formulas cannot say, which is who waits for whom
page       all of it for a person
"""
