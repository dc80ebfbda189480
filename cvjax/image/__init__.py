"""Classical image processing and differentiable augmentation, one topic a file."""
