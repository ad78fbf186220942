"""How lists come into the house: fetched, guarded, compiled."""
