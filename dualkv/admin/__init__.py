"""HTTP for operators and their tools, at two addresses: one that tells, one that controls.

- `http`: the application of `metrics`
- `serving`: serving either with Hypercorn's connections under trio
- `findings`: divergences, coverage, readiness
- `observed`: what clients use
- `status`: what is going on, as plain data
- `sampler`: how fast it goes on, and the last 15 minutes

- `admin_app`: the application of `admin`
- `operations`: all that can be asked for there, as a table
- `guard`: who may ask, and how much
- `control`: the mode and all else that can be changed
- `openapi`: the document of it
- `status_page`, `events`: the page in ``page/``, and what it follows
"""
