"""SariGAN: Learning Semantic-aware Normalization for Generative Adversarial Networks (NeurIPS 2020)."""

from sarigan.pretrained import load_generator

__all__ = ["load_generator"]
