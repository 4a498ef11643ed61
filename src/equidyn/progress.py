"""A progress bar, or none where tqdm is absent: a node with a GPU may do without."""

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(items, **_):
        """The items."""
        return items


__all__ = ["tqdm"]
