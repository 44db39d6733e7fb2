"""The history: every sample of every tag, durable before it is acknowledged, in Parquet that any tool reads.

A folder of files. `a-b.parquet` holds the samples of the hot segments a to b; all else begins with `_`: `_n.hot` are segments
that are not in Parquet yet, `_a-b.ledger` what the ledger counted beside those samples, `_a-b.newest` the newest of each tag up to
there (Parquet by another name, so that nobody takes them for samples).
"""

from jayul.record.history.read import Reader
from jayul.record.history.store import History

__all__ = ["History", "Reader"]
