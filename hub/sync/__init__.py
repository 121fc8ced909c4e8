"""The face for other hubs: what neighbours exchange with each other, and how."""
