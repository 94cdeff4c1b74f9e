"""How the policy learns from trying: loss, entropy control, learner, controller, curriculum."""
