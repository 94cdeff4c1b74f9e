"""How the policy tries: inference engines, router, group sampling, the rollout store."""

if __name__ != "munro.rollout":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)
