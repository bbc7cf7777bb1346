"""One file per guard, found by its name; to add one, write `ID` and `check(calibrated) -> CalibrationWarning | None`."""
