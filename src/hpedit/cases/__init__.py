"""RealPref: build training cases from photographs and instructions, filtered to the hard ones."""
