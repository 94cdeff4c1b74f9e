"""How the policy learns from trying: loss, entropy control, learner, controller, curriculum."""

if __name__ != "munro.rl":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)
