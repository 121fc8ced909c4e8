"""The pure core: no clock, no disk, no network, no logging. Time and chance are handed in."""
