"""The tensor names and settings of each generator family."""
