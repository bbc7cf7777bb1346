"""Networks in PyTorch: what `torch.py` stands on."""
