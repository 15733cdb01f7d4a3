"""The test suite: a folder for each package of dualkv, and `tests.e2e` against real servers."""
