"""HTTP for operators and their tools: metrics, health.

- `http`: the Starlette application, and serving it with Hypercorn under trio
- `status`: what is going on, as plain data
"""
