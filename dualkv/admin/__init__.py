"""HTTP for operators and their tools: metrics, health, what comparing has found.

- `http`: the Starlette application, and serving it with Hypercorn under trio
- `findings`: divergences, coverage, readiness
- `status`: what is going on, as plain data
"""
