"""The history: every sample of every tag, durable before it is acknowledged, in Parquet that any tool reads.

A folder of files. `a-b.parquet` holds the samples of the hot segments a to b; all else begins with `_`: `_n.hot` are segments
that are not in Parquet yet, `_a-b.ledger` what the ledger counted beside those samples, `_a-b.pyramid` summaries of them,
`_a-b.newest` the newest of each tag up to there (Parquet by another name, so that nobody takes them for samples), and
`_catalogue.jnl` which files there are and were, with their digests.
"""

from jayul.record.history.check import Fault, HistoryReport, verify_history
from jayul.record.history.read import Reader
from jayul.record.history.store import History
from jayul.record.history.upkeep import Policy

__all__ = ["Fault", "History", "HistoryReport", "Policy", "Reader", "verify_history"]
