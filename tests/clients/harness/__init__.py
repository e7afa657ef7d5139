"""What every test here shares: a node of its own, a time limit, ways to call clients."""
