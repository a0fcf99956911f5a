"""What an estimator was before a call that fails."""

from contextlib import contextmanager


@contextmanager
def kept_on_failure(estimator):
    """Put every attribute back if the block raises: a failed refit loses nothing."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
