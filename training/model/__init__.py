"""Networks, classifiers and their losses, and how a config's words become them."""
