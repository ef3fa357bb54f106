"""Which text means which cause: one table, read from the top, the first row that fits wins.

The order is part of the knowledge: host-local's conflict contains the words of its exhaustion, a clean-up failure quotes the reason of
another, and a text about names that are reserved or about deadlines comes late because it is only the echo of something slower. Texts are
those of whereabouts 0.1 to 0.9, Multus 3.2 to 4.3, the CNI plugins, containerd, CRI-O, dockershim and kubelet.
Rows compare, they never compute: what a message says about addresses is in sandbox_range, what it names in sandbox_names.
"""

from agent.model.events import Cause
from agent.rules.sandbox_row import Row, Signs
from agent.rules.sandbox_table_addresses import ADDRESSES, EXHAUSTED, STORES
from agent.rules.sandbox_table_multus import MULTUS
from agent.rules.sandbox_table_node import NODE

TABLE: tuple[Row, ...] = (*ADDRESSES, *EXHAUSTED, *STORES, *MULTUS, *NODE)


def cause_of(signs: Signs) -> Cause | None:
    """The first row that fits, or within whose phrase the text was cut off; None if no row knows the text."""
    return next((one.cause for one in TABLE if one.fits(signs) or one.fits_cut(signs)), None)
