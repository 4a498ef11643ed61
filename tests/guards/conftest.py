"""Files of small molecules."""

import pytest
from small_datasets import WATERS


@pytest.fixture
def waters(tmp_path):
    path = tmp_path / "in" / "w.xyz"
    path.parent.mkdir()
    path.write_text(WATERS)
    return path
