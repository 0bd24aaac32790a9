"""The journal: every action of a session on disc, so that nothing is lost when the program ends, however it ends.

``recorder`` writes, in a thread of its own; ``restoring`` does the actions again; ``store`` is the file (SQLite) and
``salvage`` reads what a damaged one still holds; ``codec`` and ``rows`` say how values and pixels are written down;
``places`` knows where sessions lie.
"""
