"""RealPref: training cases from photographs and instructions, edited by the base editor, scored, and filtered to the hard ones."""
