"""The only place that speaks SQL or touches content on disk."""
