"""dualkv between real servers, with real clients."""
