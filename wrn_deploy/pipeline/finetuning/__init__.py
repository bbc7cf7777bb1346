"""The step of `finetune`: quantization-aware training of int8 graphs."""
