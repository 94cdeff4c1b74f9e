"""Forms in which people keep preferences: one file each. `munro.rewards.preference.form` says what
a form is."""
