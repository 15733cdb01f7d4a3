"""``dualkv demo``: two throw-away servers, dualkv between them, live traffic, and a screen that shows it.

- `run`: starts everything, and ends it
- `traffic`: clients that behave like a small application
- `screen`: what goes on, for a terminal
"""
