"""The decisions of `dualkv.core`, without I/O and without a clock."""
