"""Risk: the desk that judges every order, positions, and the plans that enter and leave them."""
