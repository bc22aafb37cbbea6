"""Tables as a terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def in_text(table: pd.DataFrame, dash: str = "-", **how: Any) -> str:
    """A table in lines of text; what is not known is a dash: pandas' own ``na_rep`` leaves None and ``<NA>`` as they are.

    ``how`` are further arguments of ``DataFrame.to_string``.

    >>> import pandas as pd
    >>> print(in_text(pd.DataFrame({"rank": pd.array([None], dtype="Int64"), "loss": [None]}), index=False))
    rank loss
       -    -
    """
    import pandas as pd

    known = table.map(lambda one: dash if one is None or one is pd.NA else one)
    return str(known.to_string(na_rep=dash, **how))
