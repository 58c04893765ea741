"""Instructions for photographs: templates around an object list, or a VLM's own words, checked either way."""
