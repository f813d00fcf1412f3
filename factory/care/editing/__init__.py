"""The page on which a person paints a change of one sample, and sees what comes of it."""
