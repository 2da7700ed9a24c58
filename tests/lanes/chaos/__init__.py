"""Claims under kills, stops and power cuts, watched by oracles that know nothing of us."""
