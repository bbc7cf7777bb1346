"""The lint rules, one module per kind, each with `RULES`; to add a rule, add a check function and its `Rule` there."""
