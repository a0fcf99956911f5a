"""The README's examples run, in order, in one namespace; so does the quickstart."""

import re
import runpy
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 8
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["after"].score(namespace["X_test"], namespace["y_test"]) > 0.9
    assert namespace["new_digits"].shape == (10, 64)


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
