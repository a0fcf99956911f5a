"""Tables of mixed columns: what they are, from DataFrames and arrays to numbers and back."""

from .table import Table, is_frame

__all__ = ["Table", "is_frame"]
