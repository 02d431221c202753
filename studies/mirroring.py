"""MLflow mirrors what is on disk, and its trouble stops no study."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from varant.errors import one_line


@contextlib.contextmanager
def mirroring() -> Iterator[None]:
    """MLflow mirrors what is on disk: a database that is locked or gone stops no study."""
    try:
        yield
    except Exception as error:
        print(
            f"warning: MLflow: {one_line(error)[:300]}; results are on disk, run the same command "
            "again to mirror them",
            file=sys.stderr,
        )
