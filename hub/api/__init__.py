"""The hub's two APIs: a public one to read, and the caretakers' one on a local socket."""
