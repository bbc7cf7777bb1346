"""One file a guard, found by its name: `ID` and `look(calibrated) -> Caution | None`."""
