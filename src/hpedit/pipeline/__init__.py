"""`hpedit run`: from photographs to a better editor by one recipe, stage by stage in one folder."""
