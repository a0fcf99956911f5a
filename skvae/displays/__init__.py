"""Pictures of fitted models, as scikit-learn's Displays are built."""

from .latent_space import LatentSpaceDisplay
from .traversal import TraversalDisplay

__all__ = ["LatentSpaceDisplay", "TraversalDisplay"]
