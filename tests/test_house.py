"""The house: a file imports only from floors below it."""

import ast
from pathlib import Path

import skvae

FLOORS = {
    "__init__": 7,
    "transformer": 5,
    "assembly": 4,
    "coordinates": 4,
    "scores": 4,
    "net": 3,
    "parts": 3,
    "vae": 2,
    "linear_start": 2,
    "splits": 2,
    "likelihoods": 1,
    "priors": 1,
    "networks": 1,
    "objective": 1,
    "callbacks": 1,
    "batches": 1,
    "moments": 0,
    "_random": 0,
    "_input": 0,
    "devices": 0,
}
PACKAGE = Path(skvae.__file__).parent


def _imports(path):
    """Names of the skvae modules that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.split(".")[0] for name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skvae"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {"__init__"}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {[*name, "__init__"][1] for name in names if name[0] == "skvae"}
    return found


def test_every_file_has_a_floor():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(FLOORS)


def test_imports_go_downwards():
    upward = [
        f"{path.stem} imports {name}"
        for path in PACKAGE.glob("*.py")
        for name in _imports(path)
        if FLOORS[name] >= FLOORS[path.stem]
    ]
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
