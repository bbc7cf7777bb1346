"""One file a rule, found by its name: `RULE` says what it is about, `check(facts)` yields the places."""
