"""Axes to draw on: one, several in a grid, and a grid of images in one."""

import numpy as np


def one_axes(ax, figsize=None):
    """The given Axes, or one of a new figure."""
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, Axes):
        found = f"an array of shape {ax.shape}" if isinstance(ax, np.ndarray) else repr(ax)
        raise ValueError(f"ax must be a matplotlib Axes or None, got {found}.")
    return ax


def panel_axes(n_panels, ax=None, *, n_columns, size, **subplots):
    """Axes in a grid of `n_columns`, in a new figure or in the place of a given Axes.

    Parameters
    ----------
    n_panels : int
    ax : Axes, or array-like of n_panels Axes, or None
    n_columns : int
    size : tuple of two floats
        Width and height of a panel in inches, in a new figure.
    **subplots
        Options of `GridSpec.subplots`.

    Returns
    -------
    axes : ndarray of shape (n_panels,) of Axes
    """
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec

    if ax is not None and not isinstance(ax, Axes):
        axes = np.asarray(ax, dtype=object).ravel()
        if not all(isinstance(panel, Axes) for panel in axes):
            raise ValueError(f"ax must be a matplotlib Axes, an array of them or None, got {ax!r}.")
        if len(axes) != n_panels:
            raise ValueError(f"ax has {len(axes)} Axes; {n_panels} are needed, or one, or None.")
        return axes
    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    if ax is None:
        figure = plt.figure(figsize=(size[0] * n_columns, size[1] * n_rows), layout="constrained")
        grid = GridSpec(n_rows, n_columns, figure=figure)
    else:
        ax.set_axis_off()
        figure, spec = ax.figure, ax.get_subplotspec()
        if spec is None:
            # Of `figure.add_axes`, or an inset: in no grid, but somewhere in the figure.
            box = ax.get_position()
            ends = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
            grid = GridSpec(n_rows, n_columns, figure=figure, **ends)
        else:
            grid = GridSpecFromSubplotSpec(n_rows, n_columns, subplot_spec=spec)
    axes = _subplots(grid, figure, n_rows, n_columns, **subplots).ravel()
    for unused in axes[n_panels:]:
        unused.remove()
    return axes[:n_panels]


def _subplots(grid, figure, n_rows, n_columns, sharey=False, sharex=False):
    axes = np.empty((n_rows, n_columns), dtype=object)
    for i in range(n_rows):
        for j in range(n_columns):
            axes[i, j] = figure.add_subplot(
                grid[i, j],
                sharey=axes[0, 0] if sharey else None,
                sharex=axes[0, 0] if sharex else None,
            )
    return axes


def styled(defaults, given, artist):
    """Options of an artist (a class of matplotlib): those given, whatever alias of an option they
    go by, and the defaults of the others."""
    from matplotlib.cbook import normalize_kwargs

    defaults, given = (normalize_kwargs(part, artist) for part in (defaults, given))
    # "c" is no alias where it may hold numbers.
    if "c" in given:
        defaults.pop("color", None)
    return defaults | given


def is_last_row(panel):
    """Whether an Axes is at the bottom of its grid, or in none."""
    spec = panel.get_subplotspec()
    return spec is None or spec.is_last_row()


def range_of(images):
    """What is white and what is black in images: their least and largest value, of those that are
    not missing."""
    known = images[np.isfinite(images)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def checked_image_shape(image_shape, n_features):
    """(height, width) or (height, width, channels) of rows of so many columns."""
    shape = tuple(np.atleast_1d(image_shape).tolist())
    whole = all(isinstance(side, int) and side > 0 for side in shape)
    if not whole or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"image_shape must be (height, width) or (height, width, channels) with 1, 3 or 4 "
            f"channels; got {image_shape!r}."
        )
    if np.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} has {np.prod(shape)} pixels; rows have {n_features} columns."
        )
    return shape[:2] if shape[2:] == (1,) else shape


def draw_images(ax, images, image_shape, *, rows=None, columns=None, value_range=None, **kwargs):
    """Images in a grid, in one Axes.

    Parameters
    ----------
    ax : Axes
    images : ndarray of shape (n_rows, n_columns, n_features)
        A row of NaN leaves its place empty.
    image_shape : tuple
    rows, columns : list of str, optional
        Labels at the left and below.
    value_range : tuple of two floats, optional
        What is white and what is black; by default the least and the largest value.
    **kwargs
        Of `imshow`.

    Returns
    -------
    image : AxesImage
    """
    height, width, *channels = image_shape
    n_rows, n_columns = images.shape[:2]
    gap = max(1, round(min(height, width) / 12))
    down, right = height + gap, width + gap
    mosaic = np.full((n_rows * down - gap, n_columns * right - gap, *channels), np.nan)
    for i in range(n_rows):
        for j in range(n_columns):
            place = slice(i * down, i * down + height), slice(j * right, j * right + width)
            mosaic[place] = images[i, j].reshape(image_shape)
    low, high = range_of(images) if value_range is None else value_range
    if channels:
        parts = np.clip((mosaic - low) / ((high - low) or 1.0), 0, 1)
        mosaic = np.where(np.isnan(mosaic), 0.85, parts)
    options = {"cmap": "gray_r", "interpolation": "nearest"}
    options |= {"vmin": low, "vmax": high} | kwargs
    image = ax.imshow(mosaic, **options)
    ax.set_facecolor("0.85")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_yticks((np.arange(n_rows) * down + (height - 1) / 2) if rows else [], rows or [])
    ax.set_xticks(
        (np.arange(n_columns) * right + (width - 1) / 2) if columns else [], columns or []
    )
    return image


def without_top(ax):
    """Leave the lines above and at the right of an Axes out."""
    ax.spines[["top", "right"]].set_visible(False)
