"""What the rating app and the judge's server share."""
