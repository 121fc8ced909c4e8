"""Use cases: one verb per method. This file imports nothing: the picture worker must start fast."""
