"""What model files hold of each class of models, and how models are made of it."""
