"""What the servers of the label page and of the manifest service share: their guard and their socket."""
