"""One file per guard, found by name; to add one, write `ID` and `check(calibrated) -> CalibrationWarning | None`."""
