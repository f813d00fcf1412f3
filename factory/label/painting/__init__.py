"""The page on which the pictures of `factory sample` are painted, with suggestions as one goes."""
