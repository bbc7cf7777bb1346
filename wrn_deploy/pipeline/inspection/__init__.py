"""The steps of `inspect`, `explain`, `plot-model`, `plot-training` and `doctor`."""
