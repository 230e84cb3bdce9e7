"""Losses: pure functions of tensors. Weights and `backward()` belong to the objective."""
