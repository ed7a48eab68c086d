"""Data augmentation: differentiable siamese augmentation, CutMix and photo transforms."""
