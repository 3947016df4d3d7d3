"""Where a network is cut best for a link: cut points with their figures, costs, and the search over both."""
