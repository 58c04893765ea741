"""Import tables of ratings and judges' answers, and fit scorers on them."""
