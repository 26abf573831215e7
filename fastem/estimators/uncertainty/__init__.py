"""How uncertain the parameters of a mixture, and the number of its components, are."""
