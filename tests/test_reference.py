"""The reference of the site lists every public class."""

import re
from pathlib import Path

import pytest

import skvae
import skvae.displays
import skvae.likelihoods
import skvae.networks
import skvae.priors

API = (Path(__file__).parent.parent / "docs" / "api.rst").read_text()
NAMED = {
    "skvae": skvae.__all__,
    "skvae.displays": skvae.displays.__all__,
    "skvae.likelihoods": [part.__name__ for part in skvae.likelihoods.LIKELIHOODS.values()],
    "skvae.priors": [part.__name__ for part in skvae.priors.PRIORS.values()],
    "skvae.networks": [part.__name__ for part in skvae.networks.NETWORKS.values()],
}


@pytest.mark.parametrize("module", NAMED)
def test_every_public_class_is_listed(module):
    sections = re.split(r"\.\. currentmodule:: (\S+)\n", API)[1:]
    listed = set()
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        if name == module:
            listed |= set(re.findall(r"^   (\w+)$", text, flags=re.MULTILINE))
    assert set(NAMED[module]) <= listed
