"""Tables to estimates to figures. Imports neither torch nor mlflow, nor varant or studies."""
