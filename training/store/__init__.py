"""Where runs live on disk: their folders, locks, results, and tables made of them."""
