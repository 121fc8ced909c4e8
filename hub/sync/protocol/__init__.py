"""The protocol between hubs as state machines: no clock, chance, disk or network; those are handed in."""
