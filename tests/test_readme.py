"""The examples of the README and of the guide run, a page in one namespace; so do the scripts."""

import re
import runpy
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = [
    ROOT / "docs" / "index.md",
    ROOT / "docs" / "contributing.md",
    *sorted((ROOT / "docs" / "user_guide").glob("[!i]*.md")),  # its index has no code
]


def run_blocks(page):
    """The names that a page's code blocks leave, and how many blocks there are."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)
    return namespace, len(blocks)


def test_examples_run():
    namespace, n_blocks = run_blocks(ROOT / "README.md")
    assert n_blocks >= 8
    assert namespace["after"].score(namespace["X_test"], namespace["y_test"]) > 0.9
    assert namespace["new_digits"].shape == (10, 64)


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_guide(page):
    """What the guide says is asserted in its own blocks."""
    _, n_blocks = run_blocks(page)
    assert n_blocks > 0


def test_the_two_commands_come_first_and_name_files_that_exist():
    commands = re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL)[:2]
    assert README.index(commands[0]) < README.index("## ")
    assert "constraints.txt" in commands[0] and "constraints.txt" in commands[1]
    assert (ROOT / "constraints.txt").exists()
    assert (ROOT / "examples" / "quickstart.py").exists()
    assert commands[1] in (ROOT / "README.md").read_text().splitlines()


@pytest.mark.slow
def test_quickstart(tmp_path, capsys):
    quickstart = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    quickstart["main"](tmp_path / "picture.png")
    assert matplotlib.image.imread(tmp_path / "picture.png").shape[0] > 500
    printed = capsys.readouterr().out
    assert "VAE, k=8" in printed and "GridSearchCV" in printed
