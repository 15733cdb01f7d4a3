"""Stand-ins for stores that cannot be started here; they never ship."""
