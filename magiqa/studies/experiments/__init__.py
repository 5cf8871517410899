"""A question of the paper each: tables and figures on one data set."""
