"""The compiled core: one concept a room, nothing here imports anything above itself."""
