"""What the paper prints, as data: its tables, its data sets, and the statistics that compare numbers with them."""
