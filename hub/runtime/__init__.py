"""The machine beneath the hub: clocks, files that are there whole, logs, tasks that keep running."""
