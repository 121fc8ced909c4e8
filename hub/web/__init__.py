"""The face for residents: plain HTML over HTTP on the local network, readable by any browser."""
