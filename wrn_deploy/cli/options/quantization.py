"""The options of `calibrate` only: the techniques that keep the accuracy of int8 graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from wrn_deploy.calib.options import Rounding, WeightScales
from wrn_deploy.cli.options.declare import choice, either, option

if TYPE_CHECKING:
    from wrn_deploy.pipeline.quantization.quantize import Quantization

__all__ = ["TECHNIQUES", "TechniqueFlags"]

TECHNIQUES = "Accuracy techniques of int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniqueFlags:
    """The techniques that act when the int8 graphs are written."""

    exact_input: Annotated[
        bool, either("exact-input", "Feed the pixels' own codes to the first Conv; TensorRT's graph.", TECHNIQUES)
    ] = True
    weight_scales: Annotated[WeightScales, choice(WeightScales, "What gets a weight scale of its own:", TECHNIQUES)] = (
        WeightScales.CHANNEL
    )
    bias_correction: Annotated[
        bool, either("bias-correction", "Correct the mean of each channel; TensorRT's graph.", TECHNIQUES)
    ] = False
    rounding: Annotated[Rounding, choice(Rounding, "How weights become integers:", TECHNIQUES)] = Rounding.FEEDBACK
    learning_steps: Annotated[int, option("N", "Steps of --rounding learned.", TECHNIQUES, least=1)] = 600

    def quantization(self) -> Quantization:
        """The techniques as the pipeline takes them."""
        from wrn_deploy.pipeline.quantization.quantize import Quantization

        return Quantization(
            exact_input=self.exact_input,
            weights=self.weight_scales,
            bias_correction=self.bias_correction,
            rounding=self.rounding,
            learning_steps=self.learning_steps,
        )
