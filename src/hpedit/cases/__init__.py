"""RealPref: training cases from photographs and instructions.

They are edited by the base editor, scored, and filtered to the hard ones.
"""
