"""What operators see: metrics, logs, Sentry.

- `metrics`: plain counters, moved on the hot path
- `collector`: the counters as Prometheus families, made when somebody scrapes
- `samples`: the samples that are in them
- `findings`: what comparing has found: the last divergences, coverage
- `divergence_log`: the file of divergences
- `logs`: JSON lines, and a limit for lines that would repeat
- `reports`: confirmed divergences, to all of these
- `sentry`: divergences and exceptions to Sentry

Nothing here does I/O on the caller's time.
"""
