"""Tables to estimates to figures. Imports neither torch nor mlflow, nor studies, and of varant
what rests on the standard library alone: errors, files, manifests."""
