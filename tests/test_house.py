"""The house: a file imports only from floors below it."""

import ast
from pathlib import Path

import skvae

FLOORS = {
    "__init__": 8,
    "displays": 7,
    "displays.biplot": 6.95,
    "displays.latent_space": 6.9,
    "displays.loadings": 6.9,
    "displays.reconstruction": 6.9,
    "displays.sample": 6.9,
    "displays.scree": 6.9,
    "displays.training_curve": 6.9,
    "displays.traversal": 6.9,
    "displays.marginals": 6.85,
    "displays.columns": 6.8,
    "displays.fitted": 6.7,
    "displays.colours": 6.7,
    "displays.panels": 6.7,
    "attribution": 6,
    "diagnosis": 6.3,
    "diagnosis.columns": 6.2,
    "diagnosis.gains": 6.2,
    "diagnosis.latents": 6.2,
    "diagnosis.record": 6.2,
    "diagnosis.rows": 6.2,
    "diagnosis.training": 6.2,
    "findings": 6.1,
    "imputer": 6,
    "outliers": 6,
    "steps": 5.5,
    "transformer": 5,
    "assembly": 4.5,
    "support": 4,
    "summary": 4,
    "coordinates": 4,
    "collapse": 4,
    "aggregate": 4,
    "marginal_checks": 4,
    "pair_checks": 4.1,
    "scores": 4,
    "given": 4.2,
    "net": 3,
    "parts": 3,
    "start": 3,
    "vae": 2,
    "linear_start": 2,
    "splits": 2,
    "likelihoods": 1.2,
    "likelihoods.real": 1.1,
    "likelihoods.unit": 1.1,
    "likelihoods.counts": 1.1,
    "likelihoods.count_laws": 1.0,
    "likelihoods.categories": 1.1,
    "likelihoods.mixed": 1.1,
    "likelihoods.quantile": 1.15,
    "likelihoods.quantile_map": 1.0,
    "likelihoods.likelihood": 1.0,
    "priors": 1,
    "networks": 1,
    "objective": 1,
    "callbacks": 1,
    "batches": 1,
    "incomplete": 1,
    "dimension": 1.5,
    "moments": 0,
    "_keeping": 0,
    "_random": 0,
    "exceptions": 0,
    "reports": 0,
    "_input": 0,
    "devices": 0,
    "conditions": 1,
    "tables": 0.3,
    "tables.table": 0.2,
    "tables.of_pandas": 0.1,
    "tables.of_polars": 0.1,
    "tables.of_arrays": 0.1,
    "tables.dates": 0.05,
    "tables.cells": 0.0,
}
PACKAGE = Path(skvae.__file__).parent


def _module(path):
    """What a file is called in `FLOORS`: its path below the package, dotted."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)


def _imports(path, package=()):
    """Names of the skvae modules that a file of a subpackage, or of skvae itself, imports, at any
    depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {_known([*above, *name.split(".")]) for name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skvae"):
            found.add(_known(node.module.split(".")[1:]))
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {_known(name[1:]) for name in names if name[0] == "skvae"}
    return found


def _known(parts):
    """The file that a dotted name leads to: the longest part of it that has a floor."""
    while len(parts) > 1 and ".".join(parts) not in FLOORS:
        parts = parts[:-1]
    return ".".join(parts) or "__init__"


def _files():
    return {_module(path): path for path in PACKAGE.rglob("*.py")}


def test_every_file_has_a_floor():
    assert set(_files()) == set(FLOORS)


def test_imports_go_downwards():
    upward = []
    for module, path in _files().items():
        package = path.relative_to(PACKAGE).parts[:-1]
        for name in _imports(path, package):
            if FLOORS[name] >= FLOORS[module]:
                upward.append(f"{module} imports {name}")
    assert not upward


def test_the_reader_of_imports_sees_every_form(tmp_path):
    source = """
from . import net
from .vae import VAE
import skvae.batches
from skvae.priors import x
def f():
    from ._random import y
"""
    (tmp_path / "file.py").write_text(source)
    assert _imports(tmp_path / "file.py") == {"net", "vae", "batches", "priors", "_random"}
    (tmp_path / "file.py").write_text(
        "from .real import x\nfrom ..moments import y\nfrom .. import net"
    )
    assert _imports(tmp_path / "file.py", ("likelihoods",)) == {
        "likelihoods.real",
        "moments",
        "net",
    }
