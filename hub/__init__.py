"""Community Hub: a village hall's own noticeboard. This package file imports nothing."""

__version__ = "0.1.0"
