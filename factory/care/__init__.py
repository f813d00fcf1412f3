"""Look after datasets that exist: check, repair, diagnose, and make samples again."""
