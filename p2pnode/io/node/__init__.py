"""`Node`: the face of the library, and what it is made of."""
