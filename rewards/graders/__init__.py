"""The graders that come with Munro: a file each, named after its kind.

Nothing here or elsewhere lists them; `munro.rewards.kinds` finds them by name. A kind of yours is
one more such file, in your own folder or package.
"""
