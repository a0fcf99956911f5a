"""skvae: the variational autoencoder that a scikit-learn user can trust in place of PCA."""

from .attribution import attributions, decoder_jacobian, encoder_jacobian
from .diagnosis import Diagnosis, diagnose
from .exceptions import PosteriorCollapseWarning
from .imputer import VAEImputer
from .outliers import VAEOutlierDetector
from .transformer import VAETransformer

__version__ = "0.1.0"
__all__ = [
    "Diagnosis",
    "PosteriorCollapseWarning",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAETransformer",
    "attributions",
    "decoder_jacobian",
    "diagnose",
    "encoder_jacobian",
]
