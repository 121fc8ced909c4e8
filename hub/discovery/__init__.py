"""How a hub is found on its local network: the only place that speaks mDNS."""
