"""Says in words how images are prepared for a network; no image is touched here."""

from __future__ import annotations

from wrn_deploy.spec import Preprocessing

__all__ = ["preparation"]


def preparation(how: Preprocessing) -> str:
    """As in "shorter side to 256 (bilinear), centre of 224x224, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225"."""
    resized = f"shorter side to {how.resize} ({how.interpolation}), centre of "
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    return f"{resized if how.resize is not None else ''}{how.width}x{how.height}, mean {mean}, std {std}"
