"""The pictures of the README, of digits and of a mixed table: python examples/pictures.py."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skvae import VAETransformer
from skvae.displays import LatentSpaceDisplay, TraversalDisplay

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def people():
    """The table of the README."""
    random = np.random.RandomState(0)
    wealth, age = random.normal(size=(2, 500))
    table = pd.DataFrame(
        {
            "region": np.array(["north", "east", "south"])[np.digitize(wealth, [-0.5, 0.5])],
            "height": 170 + 8 * age + 4 * random.normal(size=500),
            "visits": random.poisson(np.exp(1 + 0.5 * age)),
            "gain": np.where(wealth < 0.5, 0.0, np.exp(wealth)),
            "owner": wealth + random.normal(size=500) > 0,
            "since": pd.Timestamp("2001-01-01")
            + pd.to_timedelta(random.randint(0, 9000, 500), "D"),
        }
    )
    table.loc[::9, ["region", "gain"]] = None
    return table


def main(folder=IMAGES):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    X, y = load_digits(return_X_y=True)
    X_train, X_test, _, y_test = train_test_split(X, y, random_state=0)
    plane = VAETransformer(2, random_state=0).fit(X_train)
    vae = VAETransformer(8, random_state=0).fit(X_train)
    table = people()
    of_table = VAETransformer(
        3,
        likelihood="auto",
        missing_values="observed",
        prior="flow",
        max_epochs=10,
        random_state=0,
    ).fit(table)
    pictures = {
        "latent_space": LatentSpaceDisplay.from_estimator(plane, X_test, y_test),
        "traversal": TraversalDisplay.from_estimator(
            vae, X_train, components=[0, 1, 2, 3, 4], image_shape=(8, 8)
        ),
        "traversal_table": TraversalDisplay.from_estimator(of_table, table),
    }
    for name, display in pictures.items():
        display.figure_.savefig(folder / f"{name}.png", dpi=80)


if __name__ == "__main__":
    main(*sys.argv[1:])
