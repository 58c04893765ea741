"""Web security and connection handling shared by the rating server and the judge server."""
