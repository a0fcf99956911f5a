"""Pictures of fitted models, built as scikit-learn's Displays are. Drawing needs matplotlib."""

from .biplot import BiplotDisplay
from .latent_space import LatentSpaceDisplay
from .loadings import LoadingsDisplay
from .reconstruction import ReconstructionDisplay
from .sample import SampleDisplay
from .scree import ScreeDisplay
from .training_curve import TrainingCurveDisplay
from .traversal import TraversalDisplay

__all__ = [
    "BiplotDisplay",
    "LatentSpaceDisplay",
    "LoadingsDisplay",
    "ReconstructionDisplay",
    "SampleDisplay",
    "ScreeDisplay",
    "TrainingCurveDisplay",
    "TraversalDisplay",
]
