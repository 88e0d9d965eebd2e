"""Results as one page of HTML: tables, plots, and the best and worst examples, to be looked at."""
