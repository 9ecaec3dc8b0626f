"""Wire formats: frames of bytes become events."""
