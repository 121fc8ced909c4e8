"""One module for each family of pages: each gets its services and returns its routes."""
